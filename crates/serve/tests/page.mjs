// Tests of the page in a real browser, against a running `uard serve`:
//
//   node page.mjs words URL A B      of two words that some photos show and others do not
//   node page.mjs photo URL FILE     of an index that can encode photos; FILE is one
//
// UARD_PAGE_TOOLS is a folder with playwright-core and axe-core, UARD_BROWSER a Chromium.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const [suite, address, ...given] = process.argv.slice(2);
const tools = createRequire(join(process.env.UARD_PAGE_TOOLS, "package.json"));
const { chromium } = tools("playwright-core");
const axe = await readFile(tools.resolve("axe-core/axe.min.js"), "utf8");

// Chromium in a container or as root has no sandbox; nothing outside of this computer is asked.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const suites = { words: {}, photo: {} };

const open = async (page, query = "") => {
  await page.goto(address + (query && `?q=${encodeURIComponent(query)}`));
  await page.waitForFunction(() => document.getElementById("extent").textContent);
  if (query) await settled(page);
};
const settled = (page) => page.waitForFunction(() => !document.body.classList.contains("busy"));
const query = (page) => page.inputValue("#text");
const text = (page, selector) => page.locator(selector).first().innerText();
const chip = (page, word) => page.locator(".chip", { hasText: word }).first();
const visibleBoxes = (page) => page.locator(".photo .box").evaluateAll((boxes) => boxes.filter((box) => getComputedStyle(box).visibility === "visible").length);

/** What people with disabilities cannot use, by axe; and whether the page is wider than the window. */
async function expectUsable(page, state) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map(({ id, help }) => `${state}: ${id}: ${help}`), []);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${state} scrolls sideways`);
}

suites.words["searches while typing, and names what no photo shows"] = async (page) => {
  const [a] = given;
  await open(page);
  await page.locator("#text").pressSequentially(`a ${a} skateboard`, { delay: 20 });
  await page.waitForFunction((count) => document.querySelectorAll(".chip").length === count, 2);
  await settled(page);
  assert.ok((await page.locator(".photo").count()) > 0);
  assert.match(await text(page, "#notice"), /has not learned “skateboard”/);
  assert.equal(new URL(page.url()).searchParams.get("q"), `a ${a} skateboard`);
  await open(page, "skateboard");
  assert.equal(await page.locator(".photo").count(), 0);
  assert.match(await text(page, "#notice"), /has not learned “skateboard”/);
};

suites.words["a chip excludes its word, and no photo is left that shows it"] = async (page) => {
  const [a, b] = given;
  await open(page, `${a} ${b}`);
  const both = await page.locator(".photo").count();
  await chip(page, b).click();
  await page.click("#roles [value=excluded]");
  await settled(page);
  assert.equal(await query(page), `${a} -${b}`);
  const fewer = await page.locator(".photo").count();
  assert.ok(fewer < both, `${fewer} of ${both}`);
  const alts = await page.locator(".photo img").evaluateAll((images) => images.map((image) => image.alt));
  assert.ok(alts.every((alt) => !new RegExp(`\\b${b}\\b`, "u").test(alt)), alts.join("\n"));
  await page.goBack();
  await page.waitForFunction((count) => document.querySelectorAll(".photo").length === count, both);
};

suites.words["boxes of a word on hover, of a photo on focus"] = async (page) => {
  const [a] = given;
  await open(page, a);
  assert.equal(await visibleBoxes(page), 0);
  await chip(page, a).hover();
  const shown = await visibleBoxes(page);
  assert.ok(shown > 1, `${shown} boxes`);
  await page.locator(".photo").first().hover();
  assert.equal(await visibleBoxes(page), 1);
  assert.equal(await page.locator(".chip svg .hill").count(), 2);
};

suites.words["by keyboard alone"] = async (page) => {
  const [a] = given;
  await open(page);
  // The page begins in the search box.
  await page.keyboard.press("Tab");
  await page.keyboard.press("/");
  await page.keyboard.type(a);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".photo").length > 2);
  await settled(page);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("#facts dd").length > 1);
  assert.match(await text(page, "#evidence"), /relevance -?\d\.\d\d, border -?\d\.\d\d/);
  await page.waitForFunction(() => document.getElementById("large").naturalWidth > 0);
  await page.keyboard.press("Escape");
  assert.ok(await page.evaluate(() => document.activeElement.classList.contains("photo")));
};

suites.words["wrong queries are explained, and texts are no HTML"] = async (page) => {
  await open(page, "dog OR cat");
  await page.waitForFunction(() => /OR. is not supported/.test(document.getElementById("problem").textContent));
  await open(page, '"<b>bold</b>" <img/src=x>');
  assert.equal(await page.locator("#words b, #words img").count(), 0);
};
suites.words["wrong queries are explained, and texts are no HTML"].expects = /400/;

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 360]) {
    const usable = async (page) => {
      const [a] = given;
      await open(page);
      await expectUsable(page, "start");
      await open(page, `a ${a} skateboard -zebra`);
      await expectUsable(page, "results");
      await chip(page, a).click();
      await expectUsable(page, "menu");
      await page.keyboard.press("Escape");
      await page.locator(".photo").first().click();
      await page.waitForFunction(() => document.querySelectorAll("#facts dd").length > 1);
      await expectUsable(page, "viewer");
      await open(page, "skateboard");
      await expectUsable(page, "empty answer");
      await page.goto(`${address}docs`);
      await expectUsable(page, "description");
    };
    suites.words[`usable by everybody, ${scheme}, ${width} pixels`] = Object.assign(usable, { scheme, width });
  }
}

suites.photo["finds the photo that is dropped"] = async (page) => {
  const [file] = given;
  await open(page);
  const bytes = (await readFile(file)).toString("base64");
  await page.evaluate((bytes) => {
    const transfer = new DataTransfer();
    const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([content], "dropped.jpg", { type: "image/jpeg" }));
    dispatchEvent(new DragEvent("dragover", { dataTransfer: transfer, cancelable: true }));
    dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  }, bytes);
  await page.waitForFunction(() => document.querySelectorAll(".photo").length > 0);
  assert.equal(await text(page, "#reference-text"), "Looks like dropped.jpg");
  const best = await page.locator(".photo img").first().getAttribute("alt");
  assert.ok(best.startsWith(file.split("/").pop()), best);
  const uploads = [];
  page.on("request", (request) => request.method() === "POST" && uploads.push(request.url()));
  const answered = page.waitForResponse((response) => response.url().includes("like=upload-"));
  await page.fill("#text", "circle");
  assert.equal((await answered).status(), 200);
  assert.deepEqual(uploads, []);
  await page.click("#forget");
  await page.waitForFunction(() => document.getElementById("reference").hidden);
};

const browser = await chromium.launch({ executablePath: process.env.UARD_BROWSER, args: FLAGS });
let failed = 0;
for (const [name, run] of Object.entries(suites[suite])) {
  const context = await browser.newContext({ colorScheme: run.scheme ?? "light", viewport: { width: run.width ?? 1280, height: 860 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  // Among them violations of the content security policy.
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.stack));
  page.on("console", (message) => message.type() === "error" && !run.expects?.test(message.text()) && errors.push(message.text()));
  try {
    await run(page);
    assert.deepEqual(errors, []);
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}\n${errors.join("\n")}`);
  }
  await context.close();
}
await browser.close();
process.exitCode = failed === 0 ? 0 : 1;
