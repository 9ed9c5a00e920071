// The page of `uard serve`: asks the service, and shows photos with the words that they show.
//
// Words, paths and errors come from people: they are always inserted as text.

/** Photos of one request. */
const PAGE = 60;
/** Milliseconds from the last key to the search, and from a search that cannot be understood to saying so. */
const [PAUSE, PATIENCE] = [200, 700];
/** How often a busy service is asked again. */
const TRIES = 4;
/** How many words have colours of their own, in page.css. */
const COLOURS = 7;

/** What is searched for: words, and what looks like a photo of the index (its number) or like a file, which has a name once it was uploaded. */
const asked = { text: "", like: null, file: null, upload: null };
/** The answer that is shown, if there is one. Its `like` names the photo that its photos look like. */
let answer = null;
/** Its loaded photos, with their buttons. */
let photos = [];
/** Its words that count, with their chips. */
let chips = [];

// Elements

const the = (id) => document.getElementById(id);

function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const span = (className, textContent = "") => create("span", { className, textContent });

function listen(id, events, action) {
  for (const event of events.split(" ")) the(id).addEventListener(event, action);
}

const textButton = (textContent, action) => create("button", { textContent, onclick: action });
const count = (number, noun) => `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
const listed = (words) => new Intl.ListFormat("en", { type: "disjunction" }).format(words.map((word) => `“${word}”`));

/** Says it to those who hear the page. */
function announce(text) {
  the("status").textContent = text;
}

// Service

/** What went wrong, in words. The status is 0 where the service could not be reached. */
class Problem extends Error {
  constructor(status, message, code) {
    super(message);
    Object.assign(this, { status, code });
  }

  /** Whether the question is at fault, and the service can be asked another one. */
  get isOfQuestion() {
    return [400, 404, 413, 415, 422].includes(this.status);
  }
}

/** What the service answers; null, and `failed` is told, where it does not. An aborted request fails silently. */
async function ask(request, failed, signal) {
  try {
    return await answerTo(request, signal);
  } catch (error) {
    if (!signal?.aborted) failed(error);
    return null;
  }
}

async function answerTo({ address, ...options }, signal) {
  for (let left = TRIES; ; left--) {
    const { status, wait, text } = await reach(address, { ...options, signal });
    if (status < 300) return text && JSON.parse(text);
    if (status !== 429 || left === 0) throw problemOf(status, text);
    announce("The photo search is busy. Trying again.");
    await new Promise((done) => setTimeout(done, 1000 * (Number(wait) || 1)));
    signal?.throwIfAborted();
  }
}

async function reach(address, options) {
  try {
    const response = await fetch(address, options);
    return { status: response.status, wait: response.headers.get("Retry-After"), text: await response.text() };
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, "The photo search cannot be reached. Is “uard serve” still running?");
  }
}

function problemOf(status, text) {
  if (status === 401) return new Problem(status, "This page must be opened with the link that “uard serve” printed.");
  try {
    const { title, detail, code, advice } = JSON.parse(text);
    // The query stands right above, and what is wrong with it says how to mend it.
    const said = (detail || title).replace(/^query `.*?`: /su, "");
    return new Problem(status, advice && code !== "query" ? `${said}: ${advice}` : said, code);
  } catch {
    return new Problem(status, `The photo search failed (status ${status}).`);
  }
}

// Text of a query: it alone says what is asked. Chips and filters are read from it and written into it.

const TOKEN = /([+-]?)(?:([a-z]+):)?("[^"]*"?|'[^']*'|[^\s"]+)/giu;
const SIGNS = { wanted: "", required: "+", excluded: "-" };
const FILTERS = ["date", "camera", "has", "folder"];

/** The parts of a text: words and phrases with their signs, and filters with their names. */
function tokensOf(text) {
  return Array.from(text.matchAll(TOKEN), ([source, sign, name, written]) => {
    const isPhrase = /^["']./su.test(written);
    const value = isPhrase ? written.replace(/^["']|["']$/gu, "").trim() : written;
    return { source, sign, name, written, value, isPhrase };
  });
}

const join = (parts) => parts.filter(Boolean).join(" ");
const isNegator = ({ sign, name, written }) => !sign && !name && /^(not|without)$/iu.test(written);
const simplified = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** The tokens of the words of an answer, which has them in order. A word may have none. */
function placesOf(words, tokens) {
  const texts = tokens.map((token) => (token.name || isNegator(token) ? "" : simplified(token.value)));
  let [at, from] = [0, 0];
  return words.map(({ word }) => {
    const text = simplified(word);
    for (let next = at; next < tokens.length; next++) {
      const found = texts[next].indexOf(text, next === at ? from : 0);
      if (found < 0) continue;
      [at, from] = [next, found + text.length];
      return tokens[next];
    }
    return null;
  });
}

/** The text as tokens, those of the words of the answer, and which of them hold words that count. */
function readText() {
  const tokens = tokensOf(asked.text);
  const places = placesOf(answer.words, tokens);
  const counted = new Set(places.filter((_, at) => answer.words[at].counts));
  return { tokens, places, counted };
}

/** The tokens before another one, nearest first, up to a filter or a word that counts. */
function fillersBefore({ tokens, counted }, token) {
  const before = tokens.slice(0, tokens.indexOf(token)).reverse();
  const end = before.findIndex((other) => other.name || counted.has(other));
  return end < 0 ? before : before.slice(0, end);
}

function withRole(reading, token, role) {
  // The `not` of `not a cat`.
  const negator = fillersBefore(reading, token).find(isNegator);
  const others = reading.tokens.filter((other) => other !== negator);
  return join(others.map((other) => (other === token ? SIGNS[role] + token.written : other.source)));
}

/** The text without some tokens, and without what leads to them: of `a dog on a sofa` remains `a dog`. */
function withoutTokens(reading, dropped) {
  const gone = new Set(dropped.flatMap((token) => [token, ...fillersBefore(reading, token)]));
  return join(reading.tokens.filter((token) => !gone.has(token)).map(({ source }) => source));
}

/** The text with another value of a filter, or without it. */
function withFilter(text, name, value) {
  const kept = tokensOf(text).filter((token) => token.name !== name);
  return join([...kept.map(({ source }) => source), value && `${name}:${value}`]);
}

const withoutFilters = (text) => FILTERS.reduce((rest, name) => withFilter(rest, name, ""), text);

// Address: `?q=…&like=…`. An entry of the history is a draft while its text is being typed. A file that is
// searched by has no address, but an entry, so that one can go back from it.

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  forgetFile();
  asked.text = (parameters.get("q") ?? "").trim();
  asked.like = parameters.get("like");
  the("text").value = asked.text;
}

function writeAddress(isDraft) {
  const address = new URL(location);
  for (const [name, value] of [["q", asked.text], ["like", asked.like]]) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  const hasFile = asked.file !== null;
  const { isDraft: wasDraft, hasFile: hadFile = false } = history.state ?? {};
  const isSame = address.href === location.href && hasFile === hadFile;
  history[isSame || (isDraft && wasDraft) ? "replaceState" : "pushState"]({ isDraft, hasFile }, "", address);
}

// Search

let searching = new AbortController();
let timer;

/** Searches for something else. */
function change(changes) {
  Object.assign(asked, changes);
  the("text").value = asked.text;
  writeAddress(false);
  search();
}

/** The same where the focused button goes away. */
function changeAndFocus(changes) {
  the("text").focus();
  change(changes);
}

function typed() {
  const text = the("text").value.trim();
  if (text === asked.text) return;
  asked.text = text;
  writeAddress(true);
  clearTimeout(timer);
  searching.abort();
  timer = setTimeout(() => search(true), PAUSE);
}

/** Asks for photos with these words that look like a photo, from a place in the order on. */
function requestOf(text, top, like, cursor) {
  const parameters = new URLSearchParams({ q: text, top });
  if (cursor) parameters.set("cursor", cursor);
  if (like) parameters.set("like", like);
  return { address: `/v1/search?${parameters}` };
}

/** Sends a file, and asks for photos that look like it. The answer names it. */
function uploadOf(file, text, top) {
  const parameters = new URLSearchParams({ q: text, top });
  return { address: `/v1/search/photo?${parameters}`, method: "POST", body: file, headers: { "Content-Type": file.type } };
}

/** Searches again if the service no longer has the file. */
function uploadAgain({ code }, isTyping) {
  if (code !== "no_upload" || !asked.upload) return false;
  asked.upload = null;
  search(isTyping);
  return true;
}

const isAsked = () => Boolean(asked.text || asked.like || asked.file);

async function search(isTyping = false) {
  clearTimeout(timer);
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  the("viewer").close();
  document.title = asked.text ? `${asked.text} – uard` : "Photo search – uard";
  document.body.classList.toggle("busy", isAsked());
  showReference();
  showFilters();
  if (!isAsked()) return showAnswer(null);
  const like = asked.upload ?? asked.like;
  const request = asked.file && !asked.upload ? uploadOf(asked.file, asked.text, PAGE) : requestOf(asked.text, PAGE, like);
  const found = await ask(request, (problem) => {
    if (uploadAgain(problem, isTyping)) return;
    const patience = isTyping && problem.isOfQuestion ? PATIENCE : 0;
    timer = setTimeout(() => showProblem(problem), patience);
  }, signal);
  if (signal.aborted) return;
  document.body.classList.remove("busy");
  if (!found) return;
  found.like ??= like;
  if (asked.file) asked.upload = found.like;
  showAnswer(found);
}

/** Shows what went wrong, if anything did, beside what was found before. */
function showProblem(problem) {
  const isOfQuestion = Boolean(problem?.isOfQuestion);
  the("problem").textContent = isOfQuestion ? problem.message : "";
  the("text").ariaInvalid = String(isOfQuestion);
  the("banner-text").textContent = problem?.message ?? "";
  the("banner").hidden = !problem || isOfQuestion;
  document.body.classList.toggle("stale", Boolean(problem));
  the("start").hidden = answer !== null;
}

// Words: each word of the query that counts is a chip, which says how many photos show it.

/** The chip whose menu is open. */
let menuChip = null;

function showWords() {
  const focused = chips.findIndex(({ button }) => button === document.activeElement);
  chips = [];
  const places = answer ? readText().places : [];
  the("words").replaceChildren(...places.flatMap(showWord));
  chips[focused]?.button.focus();
}

/** A word as a chip or as text, with the quotes of its phrase. */
function showWord(token, at, places) {
  const word = answer.words[at];
  const shown = word.counts ? addChip(word, token, at) : span("filler", word.word);
  const opens = token?.isPhrase && places[at - 1] !== token;
  const closes = token?.isPhrase && places[at + 1] !== token;
  return [opens && span("filler", "“"), shown, closes && span("filler", "”")].filter(Boolean);
}

function addChip(word, token, at) {
  const chip = {
    word, at, colour: chips.length % COLOURS,
    // A phrase is called by all of its words.
    label: token?.isPhrase ? token.value : word.word,
    // How often the word was there before.
    before: answer.words.slice(0, at).filter((other) => other.word === word.word).length,
    scale: word.distributions && word.borders ? new Scale(word, 160, 30) : null,
  };
  chip.button = chipButton(chip);
  chips.push(chip);
  return chip.button;
}

function chipButton(chip) {
  const { word, scale, colour } = chip;
  const state = stateOf(chip);
  const sign = SIGNS[word.role].replace("-", "−");
  const name = create("span", { className: "name" }, span("swatch"), sign, span("word", word.word));
  const button = create("button", { className: `chip colour-${colour} ${state.name}`, ariaHasPopup: "dialog" }, name);
  button.append(span("state", state.text), scale?.element ?? "");
  button.onclick = () => openMenu(chip);
  button.onpointerenter = button.onfocus = () => showBoxesOf(chip);
  button.onpointerleave = button.onblur = () => showBoxesOf(menuChip);
  return button;
}

/** What the answer says of a word, in few words. */
function stateOf({ word, label }) {
  if (!word.learned) return { name: "unlearned", text: "not learned" };
  if (word.role === "excluded") return { name: "excluded", text: `leaves out ${word.photos.toLocaleString()}` };
  if (answer.perhaps_shown.includes(label)) return { name: "doubtful", text: "in doubt ?" };
  if (answer.nothing_shows.includes(label)) return { name: "missing", text: "no photo shows it" };
  return { name: "shown", text: count(word.photos, "photo") };
}

/** Shows the boxes of a chip's word on all photos, or of none. page.css does it. */
function showBoxesOf(chip) {
  the("photos").dataset.word = chip?.colour ?? "";
}

function openMenu(chip) {
  const { word, colour, button, at } = chip;
  menuChip = chip;
  // Within parentheses a sign stands for several words.
  const isFixed = !readText().places[at] || /[()]/u.test(asked.text);
  the("menu").className = `colour-${colour}`;
  the("menu-title").textContent = word.word;
  the("menu-text").textContent = word.learned ? `Shown by ${word.photos.toLocaleString()} of ${count(answer.searched, "photo")}.` : unlearned([word.word]);
  the("menu-scale").replaceChildren(...(chip.scale ? explainedScale(chip) : []));
  for (const role of the("roles").children) Object.assign(role, { ariaPressed: String(role.value === word.role), disabled: isFixed });
  the("drop-word").disabled = isFixed;
  the("menu").showPopover();
  the("menu").focus();
  putMenuBelow(button);
}

/** The scale of a chip, larger, with what it means. */
function explainedScale(chip) {
  const scale = new Scale(chip.word, 270, 64);
  scale.mark(photos.map((photo) => evidenceOf(photo, chip)?.relevance));
  const { missing, shown, sure } = chip.word.borders;
  const text = `Relevance above ${shown.toFixed(2)}: shown; above ${sure.toFixed(2)}: surely shown; up to ${missing.toFixed(2)}: surely not. The grey curve shows how often photos without it have each relevance, the other curve photos with it; a tick is a photo below.`;
  return [scale.element, create("p", { className: "faint" }, text)];
}

/** Puts the menu below a chip, within the window. */
function putMenuBelow(button) {
  const { left, bottom } = button.getBoundingClientRect();
  const { offsetWidth, offsetHeight, style } = the("menu");
  const within = (value, most) => `${Math.max(8, Math.min(value, most - 8))}px`;
  style.left = within(left, document.documentElement.clientWidth - offsetWidth);
  style.top = within(bottom + 6, innerHeight - offsetHeight);
}

/** Asks for a text in which the word of the menu stands otherwise. */
function rewrite(rewritten) {
  const reading = readText();
  const text = rewritten(reading, reading.places[menuChip.at]);
  the("menu").hidePopover();
  change({ text });
}

listen("menu", "toggle", ({ newState }) => {
  if (newState === "open") return;
  menuChip = null;
  showBoxesOf(null);
});
listen("roles", "click", ({ target }) => {
  const role = target.closest("button")?.value;
  if (role) rewrite((reading, token) => withRole(reading, token, role));
});
listen("drop-word", "click", () => rewrite((reading, token) => withoutTokens(reading, [token])));

// Scale: the two distributions of a word's relevance, its borders, and where photos lie.

class Scale {
  constructor({ distributions, borders }, width, height) {
    const both = [distributions.not_shown, distributions.shown];
    this.width = width;
    this.foot = height - 7;
    this.low = Math.min(borders.missing, ...both.map(({ mean, std }) => mean - 2.6 * std));
    this.high = Math.max(borders.sure, ...both.map(({ mean, std }) => mean + 2.6 * std));
    this.least = Math.min(...both.map(({ std }) => std));
    this.ticks = draw("path", { class: "ticks" });
    this.marker = draw("path", { class: "marker", d: `M0 0V${height}`, visibility: "hidden" });
    this.marked = new Set();
    this.element = draw("svg", { class: "scale", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...this.drawBorders(borders),
      draw("path", { class: "hill without", d: this.hill(distributions.not_shown) }),
      draw("path", { class: "hill", d: this.hill(distributions.shown) }), this.ticks, this.marker);
  }

  /** Where a relevance lies; what lies beyond the distributions, at their ends. */
  x(relevance) {
    const part = (relevance - this.low) / (this.high - this.low);
    return 1 + Math.round(2 * Math.min(Math.max(part, 0), 1) * (this.width - 2)) / 2;
  }

  hill({ mean, std }) {
    const points = Array.from({ length: 41 }, (_, at) => {
      const deviation = (at - 20) / 7;
      const height = (Math.exp(-(deviation ** 2) / 2) * this.least) / std;
      return `${this.x(mean + deviation * std)} ${(this.foot - height * (this.foot - 2)).toFixed(1)}`;
    });
    return `M${points.join("L")}`;
  }

  drawBorders({ missing, shown, sure }) {
    const [from, border, to] = [missing, shown, sure].map((relevance) => this.x(relevance));
    return [
      draw("rect", { class: "doubt", x: from, width: to - from, height: this.foot }),
      draw("path", { class: "edges", d: `M${from} 0V${this.foot}M${to} 0V${this.foot}` }),
      draw("path", { class: "border", d: `M${border} 0V${this.foot}` }),
    ];
  }

  /** Adds a tick for each relevance. Ticks that would cover each other are one. */
  mark(relevances) {
    for (const relevance of relevances.filter(Number.isFinite)) this.marked.add(this.x(relevance));
    this.ticks.setAttribute("d", Array.from(this.marked, (x) => `M${x} ${this.foot + 1.5}v4.5`).join(""));
  }

  /** Points at a relevance, or at nothing. */
  point(relevance) {
    const isKnown = Number.isFinite(relevance);
    this.marker.setAttribute("visibility", isKnown ? "visible" : "hidden");
    if (isKnown) this.marker.setAttribute("transform", `translate(${this.x(relevance)})`);
  }
}

// Answer

/** Shows an answer; without one, how to begin. */
function showAnswer(found) {
  answer = found;
  showProblem(null);
  showWords();
  showPhotos();
  showNotice();
  announce(answer ? [summary(), ...sentencesOf(answer)].join(" ") : "");
}

function summary() {
  if (photos.length === 0) return "No photo found.";
  const found = count(answer.found, "photo");
  if (groupOf(photos[0]) === "similar") return `${found}.`;
  const perhaps = answer.nothing_shows.length ? "perhaps " : "";
  return `${found}, ${answer.everything.toLocaleString()} ${perhaps}show everything.`;
}

/** Words that the model has learned, and that surely no photo shows. */
function wordsOfNone({ nothing_shows, perhaps_shown, unknown }) {
  return nothing_shows.filter((word) => !perhaps_shown.includes(word) && !unknown.includes(word));
}

const unlearned = (words) => `The model has not learned ${listed(words)}; it cannot tell which photos show ${words.length > 1 ? "them" : "it"}.`;

function sentencesOf({ searched, found, perhaps_shown, unknown }) {
  if (searched === 0) return ["No photo meets these filters."];
  const none = wordsOfNone(answer);
  const sentences = [
    none.length && `No photo shows ${listed(none)}.`,
    perhaps_shown.length && `No photo surely shows ${listed(perhaps_shown)}. Where it is marked with ?, one may.`,
    unknown.length && unlearned(unknown),
  ].filter(Boolean);
  return found || sentences.length ? sentences : ["No photo answers all of this."];
}

function showNotice() {
  const sentences = answer ? sentencesOf(answer) : [];
  the("notice").hidden = sentences.length === 0;
  the("notice").classList.toggle("empty", photos.length === 0);
  the("notice").replaceChildren(...sentences.map((text) => create("p", {}, text)));
  if (sentences.length) offerLess();
}

/** Offers to search without the words that no photo shows, or without filters that no photo meets. */
async function offerLess() {
  const reading = readText();
  const none = [...wordsOfNone(answer), ...answer.unknown];
  const dropped = chips.filter(({ label }) => none.includes(label)).map(({ at }) => reading.places[at]).filter(Boolean);
  const [text, name] = answer.searched ? [withoutTokens(reading, dropped), listed(none)] : [withoutFilters(asked.text), "filters"];
  if (text === asked.text || !(text || asked.like || asked.file)) return;
  const less = await ask(requestOf(text, 1, answer.like), () => {}, searching.signal);
  if (!less?.found) return;
  the("notice").append(textButton(`Without ${name}: ${count(less.found, "photo")}`, () => changeAndFocus({ text })));
}

// Photos: a grid for each group. One photo of all of them can be reached with Tab, the others from it.

const GROUPS = ["everything", "part", "similar"];

/** Without a word to judge them by, photos are merely ordered by similarity. */
const groupOf = ({ group, missing }) => (group === "part" && missing.length === 0 ? "similar" : group);
const nameOf = (path) => path.split(/[\\/]/u).pop();
const isShown = ({ counts, excluded, shown }) => counts && !excluded && shown;
const percent = (part, whole) => `${((100 * part) / whole).toFixed(2)}%`;
const photoOf = (element) => photos[element.closest(".photo")?.dataset.at];

/** What a photo says of the word of a chip. */
const evidenceOf = (photo, { word, before }) => photo.words.filter((other) => other.word === word.word)[before];

/** Shows the first photos of the answer. A picture that was there before need not load again. */
function showPhotos() {
  const pictures = new Map(photos.map(({ id, button }) => [id, button.querySelector("img")]));
  photos = [];
  for (const group of GROUPS) the(group).querySelector("ul").replaceChildren();
  addPhotos(answer?.results ?? [], pictures);
  scrollTo(0, 0);
  if (photos.length) makeCurrent(photos[0]);
}

function addPhotos(results, pictures = new Map()) {
  const added = results.map((result, at) => ({ ...result, at: photos.length + at }));
  for (const photo of added) {
    photo.button = photoButton(photo, pictures.get(photo.id));
    const item = create("li", {}, photo.button);
    item.style.setProperty("--ratio", Math.max(photo.width / photo.height, 0.55).toFixed(3));
    the(groupOf(photo)).querySelector("ul").append(item);
  }
  photos.push(...added);
  for (const chip of chips) chip.scale?.mark(added.map((photo) => evidenceOf(photo, chip)?.relevance));
  showGroups();
  showEnd();
}

function photoButton(photo, picture) {
  const image = picture ?? create("img", { loading: "lazy", decoding: "async", src: `/v1/photos/${photo.id}/thumbnail` });
  image.alt = alternative(photo);
  const boxes = create("span", { className: "boxes", ariaHidden: "true" }, ...boxesOf(photo, ({ word }) => word));
  boxes.style.aspectRatio = photo.width / photo.height;
  const button = create("button", { className: "photo", tabIndex: -1 }, create("span", { className: "frame" }, image, boxes));
  const caption = captionOf(photo);
  if (caption) button.append(span("caption", caption));
  button.dataset.at = photo.at;
  return button;
}

function alternative({ path, words }) {
  const shown = words.filter(isShown).map(({ word, sure }) => (sure ? word : `perhaps ${word}`));
  return shown.length ? `${nameOf(path)}, shows ${shown.join(", ")}` : nameOf(path);
}

function captionOf({ missing, words }) {
  const lacking = missing.filter((word) => !answer.unknown.includes(word)).map((word) => `no ${word}`);
  const doubtful = words.filter(({ counts, excluded, sure, relevance }) => counts && !excluded && !sure && relevance !== null);
  return [...lacking, ...doubtful.map(({ word }) => `${word}?`)].join(", ");
}

/** The boxes of the words that a photo shows, each with a label. */
function boxesOf(photo, labelOf) {
  const found = chips.map((chip) => [chip, evidenceOf(photo, chip)]);
  return found.filter(([, word]) => word?.box && isShown(word)).map(([chip, word]) => boxOf(photo, chip, word, labelOf(word)));
}

function boxOf({ width, height }, { colour }, { box: [left, top, right, bottom], sure }, text) {
  const box = create("span", { className: `box colour-${colour}` }, span("label", sure ? text : `${text}?`));
  Object.assign(box.style, {
    left: percent(left, width), width: percent(right - left, width),
    top: percent(top, height), height: percent(bottom - top, height),
  });
  box.classList.toggle("doubtful", !sure);
  // So that the label lies within the photo.
  box.classList.toggle("high", top < 0.16 * height);
  box.classList.toggle("right", left > 0.6 * width);
  return box;
}

function showGroups() {
  const { found, everything } = answer ?? {};
  const numbers = { everything, part: found - everything, similar: found };
  for (const group of GROUPS) {
    the(group).hidden = !photos.some((photo) => groupOf(photo) === group);
    the(`${group}-count`).textContent = numbers[group]?.toLocaleString() ?? "";
  }
  the("everything-title").textContent = answer?.nothing_shows.length ? "Perhaps everything" : "Shows everything";
  the("similar-title").textContent = asked.like || asked.file ? "Most alike first" : "Photos";
}

function showEnd(problem = "") {
  the("end").hidden = !answer?.cursor;
  the("end-text").textContent = problem;
  the("more").hidden = !problem;
  // Observed anew, the end is reported also if it stayed in view.
  atEnd.disconnect();
  if (answer?.cursor && !problem) atEnd.observe(the("end"));
}

const atEnd = new IntersectionObserver((entries) => {
  if (entries.some(({ isIntersecting }) => isIntersecting)) loadMore();
}, { rootMargin: "900px" });

/** Loads the next photos. Whoever asks meanwhile waits for the same ones. */
function loadMore() {
  answer.loading ??= loadPage(answer);
  return answer.loading;
}

async function loadPage(shown) {
  const failed = (problem) => uploadAgain(problem) || showEnd(problem.message);
  const next = await ask(requestOf(shown.query, PAGE, shown.like, shown.cursor), failed, searching.signal);
  shown.loading = null;
  if (!next || shown !== answer) return;
  shown.cursor = next.cursor;
  addPhotos(next.results);
}

/** Points at a photo on the scale of each word, or at none. */
function pointAt(photo) {
  for (const chip of chips) chip.scale?.point(photo && evidenceOf(photo, chip)?.relevance);
}

/** The photo that is reached with Tab. */
let current = null;

function makeCurrent(photo) {
  if (current) current.button.tabIndex = -1;
  current = photo;
  current.button.tabIndex = 0;
}

/** The photo to which a key leads from another one. */
function neighbour(at, key) {
  switch (key) {
    case "ArrowLeft": return photos[at - 1];
    case "ArrowRight": return photos[at + 1];
    case "ArrowUp": return nearest(at, -1);
    case "ArrowDown": return nearest(at, 1);
    default: return undefined;
  }
}

/** The photo in the row above (step -1) or below (step 1) that lies nearest. */
function nearest(at, step) {
  const place = (other) => photos[other]?.button.getBoundingClientRect();
  const { top, left, width } = place(at);
  let next = at;
  while (place(next)?.top === top) next += step;
  const row = place(next)?.top;
  let best;
  for (let least = Infinity; photos[next] && place(next).top === row; next += step) {
    const distance = Math.abs(place(next).left + place(next).width / 2 - left - width / 2);
    if (distance < least) [least, best] = [distance, photos[next]];
  }
  return best;
}

listen("photos", "click", ({ target }) => {
  const photo = photoOf(target);
  if (!photo) return;
  the("viewer").showModal();
  view(photo);
});
listen("photos", "keydown", (event) => {
  const photo = photoOf(event.target);
  if (!photo || event.altKey || event.ctrlKey || event.metaKey) return;
  const to = neighbour(photo.at, event.key);
  if (!to) return;
  event.preventDefault();
  to.button.focus();
});
listen("photos", "pointerover focusin", ({ target }) => pointAt(photoOf(target)));
listen("photos", "pointerleave focusout", () => pointAt(null));
listen("photos", "focusin", ({ target }) => photoOf(target) && makeCurrent(photoOf(target)));
listen("more", "click", loadMore);

// Viewer: one photo, with what it shows in words.

let viewed = null;
/** Colours of the words whose boxes were switched off. */
const switchedOff = new Set();

function view(photo) {
  viewed = photo;
  the("viewer-title").textContent = nameOf(photo.path);
  the("viewer-note").textContent = "";
  the("evidence").replaceChildren(...chips.map((chip) => evidenceItem(photo, chip)));
  showPicture(photo);
  showBoxes();
  showFacts(photo);
  the("previous").disabled = photo.at === 0;
  the("next").disabled = photo.at === photos.length - 1 && !answer.cursor;
}

/** Shows the original. The thumbnail fills its place until it is there, or if it never comes. */
function showPicture(photo) {
  const { id, width, height } = photo;
  const original = `/v1/photos/${id}/original`;
  const large = create("img", { id: "large", alt: alternative(photo), src: original, onerror: () => noOriginal(photo) });
  the("stage").style.setProperty("--ratio", (width / height).toFixed(4));
  the("large").replaceWith(large);
  Object.assign(the("small"), { src: `/v1/photos/${id}/thumbnail`, alt: "" });
  Object.assign(the("original"), { href: original, hidden: false });
  the("viewer-boxes").replaceChildren(...boxesOf(photo, ({ word, relevance }) => `${word} ${relevance.toFixed(2)}`));
}

function noOriginal(photo) {
  if (viewed !== photo) return;
  the("large").hidden = true;
  the("small").alt = the("large").alt;
  the("original").hidden = true;
  the("viewer-note").textContent = "The original cannot be shown; the file may have been moved or deleted. This is the small copy in the index.";
}

function showBoxes() {
  const isOff = (box) => [...switchedOff].some((colour) => box.classList.contains(`colour-${colour}`));
  for (const box of the("viewer-boxes").children) box.hidden = isOff(box);
}

function evidenceItem(photo, chip) {
  const found = evidenceOf(photo, chip);
  const name = found?.box && isShown(found) ? boxSwitch(chip) : create("b", {}, chip.word.word);
  const item = create("li", { className: `colour-${chip.colour}` }, name, verdictOf(found));
  if (chip.scale && found) {
    const scale = new Scale(chip.word, 290, 34);
    scale.point(found.relevance);
    item.append(scale.element);
  }
  return item;
}

function boxSwitch({ word, colour }) {
  const button = textButton(word.word, () => {
    if (!switchedOff.delete(colour)) switchedOff.add(colour);
    button.ariaPressed = String(!switchedOff.has(colour));
    showBoxes();
  });
  button.prepend(span("swatch"));
  return Object.assign(button, { className: "switch", title: "Show or hide its box", ariaPressed: String(!switchedOff.has(colour)) });
}

function verdictOf(found) {
  if (typeof found?.relevance !== "number") return "not learned, so nothing can be said";
  const { sure, shown, excluded, relevance, border } = found;
  const verdict = `${sure ? "" : "perhaps "}${shown ? "shown" : "not shown"}${excluded && !shown ? ", as asked" : ""}`;
  return `${verdict}, relevance ${relevance.toFixed(2)}${border === null ? "" : `, border ${border.toFixed(2)}`}`;
}

async function showFacts(photo) {
  the("facts").replaceChildren();
  const note = the("viewer-note");
  const found = await ask({ address: `/v1/photos/${photo.id}` }, ({ message }) => note.append(message));
  if (!found || viewed !== photo) return;
  const facts = factsOf(found).filter(([, text]) => text);
  the("facts").append(...facts.map(([name, text]) => create("div", {}, create("dt", {}, name), create("dd", {}, text))));
}

function factsOf({ path, width, height, bytes, date, camera, latitude, longitude }) {
  const degrees = (value, [positive, negative]) => `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;
  return [
    // Of some photos only the day, the month or the year is known.
    ["Date", date?.includes("T") ? new Date(date).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" }) : date],
    ["Camera", camera],
    ["Place", latitude !== null && `${degrees(latitude, "NS")}, ${degrees(longitude, "EW")}`],
    ["Size", `${width} × ${height}, ${(bytes / 1e6).toFixed(1)} MB`],
    ["Folder", path.slice(0, -nameOf(path).length)],
  ];
}

async function turn(step) {
  const at = viewed.at + step;
  if (at === photos.length && answer.cursor) await loadMore();
  if (photos[at] && the("viewer").open) view(photos[at]);
}

listen("previous", "click", () => turn(-1));
listen("next", "click", () => turn(1));
listen("close", "click", () => the("viewer").close());
listen("viewer", "close", () => {
  // The text has it where one goes on to another search.
  if (document.activeElement !== the("text")) viewed.button.focus();
});
listen("viewer", "click", ({ target }) => target === the("viewer") && the("viewer").close());
listen("viewer", "keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey) return;
  event.preventDefault();
  turn(step);
});
listen("like", "click", () => {
  the("viewer").close();
  forgetFile();
  changeAndFocus({ text: "", like: String(viewed.id) });
});

// Search by a photo: of the index, or a file that is dropped, pasted or chosen.

let canEncode = true;

function searchByFile(file) {
  if (!canEncode) return showProblem(new Problem(422, the("no-photo").textContent));
  if (!file.type.startsWith("image/")) return showProblem(new Problem(415, "This is not a photo. Photos are JPEG, PNG, WebP or GIF files."));
  forgetFile();
  the("reference-photo").src = URL.createObjectURL(file);
  change({ file, like: null });
}

/** Frees the picture of a file that is no longer searched by. */
function forgetFile() {
  if (asked.file) URL.revokeObjectURL(the("reference-photo").src);
  Object.assign(asked, { file: null, upload: null });
}

function showReference() {
  if (asked.like) the("reference-photo").src = `/v1/photos/${asked.like}/thumbnail`;
  the("reference-text").textContent = `Looks like ${asked.file?.name || "this photo"}`;
  the("reference").hidden = !(asked.file || asked.like);
}

function dragged(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  the("drop").hidden = !canEncode || event.type === "drop";
  const [file] = event.dataTransfer.files;
  if (file && event.type === "drop") searchByFile(file);
}

addEventListener("dragover", dragged);
addEventListener("drop", dragged);
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) the("drop").hidden = true;
});
addEventListener("paste", ({ clipboardData }) => {
  const file = Array.from(clipboardData.files).find(({ type }) => type.startsWith("image/"));
  if (file) searchByFile(file);
});
listen("choose", "click", () => the("file").click());
listen("file", "change", ({ target }) => {
  if (target.files.length) searchByFile(target.files[0]);
  // So that the same file can be chosen again.
  target.value = "";
});
listen("forget", "click", () => {
  forgetFile();
  changeAndFocus({ like: null });
});

// Filters

/** Names of the cameras in the index. */
let cameras = [];

function showFilters() {
  const written = tokensOf(asked.text).filter(({ name }) => FILTERS.includes(name));
  const { date = "", camera = "", has } = Object.fromEntries(written.map(({ name, value }) => [name, value]));
  const [from, to = from] = date.split("..");
  the("from").value = month(from, "01");
  the("to").value = month(to, "12");
  the("place").checked = has === "place";
  showCamera(camera);
  the("show-filters").textContent = written.length ? `Filters (${written.length})` : "Filters";
  the("unfilter").hidden = written.length === 0;
}

/** The month of a date. A year stands for its first or last one. */
function month(date, ofYear) {
  return /^\d{4}$/u.test(date) ? `${date}-${ofYear}` : (/^\d{4}-\d{2}/u.exec(date)?.[0] ?? "");
}

/** Selects a camera. A part of a name is a filter as well, and becomes an option. */
function showCamera(written) {
  const selected = cameras.find((name) => name.toLowerCase() === written.toLowerCase()) ?? written;
  const names = new Set(["", ...cameras, selected]);
  the("camera").replaceChildren(...Array.from(names, (name) => create("option", { value: name, textContent: name || "any", selected: name === selected })));
}

function filter(name, value) {
  change({ text: withFilter(the("text").value, name, value) });
}

function filterDate() {
  const [from, to] = [the("from").value, the("to").value];
  filter("date", from === to ? from : `${from}..${to}`);
}

listen("from", "change", filterDate);
listen("to", "change", filterDate);
listen("camera", "change", ({ target }) => filter("camera", target.value && `"${target.value.split('"')[0]}"`));
listen("place", "change", ({ target }) => filter("has", target.checked && "place"));
listen("unfilter", "click", () => changeAndFocus({ text: withoutFilters(asked.text) }));
listen("show-filters", "click", ({ target }) => {
  the("filters").hidden = !the("filters").hidden;
  target.ariaExpanded = String(!the("filters").hidden);
});

// Index

async function readIndex() {
  const index = await ask({ address: "/v1/index" }, showProblem);
  if (index) showIndex(index);
}

function showIndex(index) {
  const { updating, photos: number } = index;
  ({ cameras, can_encode: canEncode } = index);
  the("choose").hidden = the("by-photo").hidden = !canEncode;
  the("no-photo").hidden = canEncode;
  the("count").textContent = `${updating ? "Updating: " : ""}${count(number, "photo")}`;
  the("update").hidden = updating || !index.can_update;
  if (updating) setTimeout(readIndex, 2000);
  the("extent").textContent = extentOf(index);
  showChoices(index);
  showFilters();
}

function extentOf({ photos: number, unreadable, first_date, last_date, with_place }) {
  if (number === 0) return "There are no photos yet. “uard index FOLDER” adds those of a folder.";
  const [first, last] = [first_date, last_date].map((date) => date?.slice(0, 4));
  const parts = [
    count(number, "photo"), first && `from ${first} to ${last}`,
    with_place && `${with_place.toLocaleString()} with a place`, unreadable && `${count(unreadable, "file")} could not be read`,
  ];
  return `${parts.filter(Boolean).join(", ")}.`;
}

/** What filters can be set to. */
function showChoices({ first_date, last_date, with_place }) {
  const [min, max] = [first_date, last_date].map((date) => date?.slice(0, 7) ?? "");
  for (const id of ["from", "to"]) Object.assign(the(id), { min, max });
  if (cameras.length) the("example-camera").textContent = `camera:"${cameras[0]}"`;
  the("example-camera").parentElement.hidden = the("camera").disabled = cameras.length === 0;
  the("place").disabled = with_place === 0;
}

listen("update", "click", async ({ target }) => {
  target.hidden = true;
  // 409: another update runs already.
  await ask({ address: "/v1/index", method: "POST" }, (problem) => problem.status !== 409 && showProblem(problem));
  readIndex();
});

// Keys, and what else leads to a search

/** Writes an example into the search box. What stands for other words is selected, to be written over. */
function useExample({ textContent: example, dataset: { blank } }) {
  const text = the("text");
  text.value = join([text.value.trim(), example]);
  text.focus();
  if (!blank) return typed();
  const at = text.value.lastIndexOf(blank);
  text.setSelectionRange(at, at + blank.length);
}

addEventListener("keydown", (event) => {
  const isInText = event.target.matches("input:not([type=checkbox]), select");
  if (event.key === "/" && !isInText && !the("viewer").open) {
    event.preventDefault();
    the("text").select();
  } else if (event.key === "ArrowDown" && event.target === the("text") && photos.length) {
    event.preventDefault();
    current.button.focus();
  }
});
addEventListener("popstate", () => {
  readAddress();
  search();
});
listen("text", "input", typed);
listen("form", "submit", (event) => {
  event.preventDefault();
  change({ text: the("text").value.trim() });
});
listen("retry", "click", () => {
  readIndex();
  search();
});
listen("examples", "click", ({ target }) => target.matches("button") && useExample(target));

// What is focused must not lie under the head, which stays at the top of large windows.
new ResizeObserver(() => {
  const covered = getComputedStyle(the("head")).position === "sticky" ? the("head").offsetHeight : 0;
  document.documentElement.style.scrollPaddingTop = `${covered + 12}px`;
}).observe(the("head"));

readAddress();
search();
readIndex();
