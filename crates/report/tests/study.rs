//! Tests that the summary of a study follows from its runs, and that its page is well-formed,
//! self-contained and escaped.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used)]

use crate::report::{markup, sample};

use uard_eval::Ranks;
use uard_relevance::EvaluationThreshold;
use uard_report::page::{StudyPage, render_study};
use uard_report::record::ExampleWord;
use uard_report::study::inside::{
    Compared, InsideRecord, Unreached, WordCounts, WordStatistics, inside, shifts,
};
use uard_report::study::{
    FinishedRuns, SettingPlan, StudyDescription, StudyRecord, StudyRun, sentences, summarise,
};

const IMAGE_OF_CAPTION: [usize; 4] = [0, 0, 1, 1];

fn plan(name: &str, group: &str, of: Option<&str>) -> SettingPlan {
    SettingPlan {
        name: name.to_owned(),
        group: group.to_owned(),
        set: vec!["threshold.penalty=2".to_owned()],
        of: of.map(str::to_owned),
        threshold: of.map(|_| EvaluationThreshold::Fixed(0.1)),
        seeds: vec![0, 1],
    }
}

/// The first run of `sample::runs` as a run of a study with this rsum; `rank` is the rank of the
/// first image and of the first caption.
fn run(name: &str, seed: u64, rsum: f64, rank: usize) -> StudyRun {
    let mut run = sample::runs().remove(0);
    name.clone_into(&mut run.name);
    run.config = "[matcher]\nrule = \"masked\"\n\n[threshold]\npenalty = 2.0\n".to_owned();
    run.seed = seed;
    let mut evaluation = run.test.take().unwrap();
    evaluation.retrieval.rsum = rsum;
    StudyRun {
        run,
        asked: None,
        evaluation,
        evaluation_data_hash: "e3b0c442".to_owned(),
        ranks: Ranks {
            image_to_text: vec![Some(rank), Some(2)],
            text_to_image: vec![Some(rank), Some(20), Some(1), Some(1)],
        },
        matching_seconds: 0.5,
    }
}

fn summary(settings: &[(SettingPlan, Vec<StudyRun>)]) -> StudyRecord {
    let finished: Vec<FinishedRuns<'_>> = settings
        .iter()
        .map(|(plan, runs)| FinishedRuns {
            plan,
            runs: runs.iter().collect(),
        })
        .collect();
    let description = StudyDescription {
        name: "sample",
        command: "uard study --config a.toml",
        baseline: "zero",
        split: "dev",
        device: "cpu",
        image_of_caption: &IMAGE_OF_CAPTION,
    };
    // A linear congruential generator is good enough for this test.
    let draws = || {
        let mut state = 0u64;
        move |count: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) as usize % count
        }
    };
    summarise(&description, &finished, draws).unwrap()
}

fn settings() -> Vec<(SettingPlan, Vec<StudyRun>)> {
    let mut cut = run("learned, cut", 0, 318.0, 1);
    cut.asked = Some(EvaluationThreshold::Fixed(0.1));
    vec![
        (
            plan("zero", "baselines", None),
            vec![run("zero", 0, 310.0, 11), run("zero", 1, 312.0, 11)],
        ),
        (
            plan("learned", "baselines", None),
            vec![run("learned", 0, 316.0, 1), run("learned", 1, 320.0, 1)],
        ),
        (plan("learned, cut", "cut", Some("learned")), vec![cut]),
        (plan("never begun", "cut", None), vec![]),
    ]
}

fn statistics(relevance: f32) -> WordStatistics {
    let counts = WordCounts {
        occurrences: 20,
        answered: 5,
        matched: 8.0,
        mismatched: 2.0,
        compared: 20,
    };
    let word = |text: &str| ExampleWord {
        text: text.to_owned(),
        relevance,
        answered: relevance > 0.254,
        best_box: None,
        correct: None,
    };
    let rare = WordCounts {
        occurrences: 19,
        ..counts
    };
    WordStatistics {
        words: [("dog", counts), ("rare", rare)]
            .map(|(word, counts)| (word.to_owned(), counts))
            .into(),
        shown: [(0, vec![word("a"), word("<dog>")])].into(),
        unreached: Unreached {
            by_caption: 0.5,
            by_image: 0.25,
        },
    }
}

fn insides() -> Vec<InsideRecord> {
    let (setting, baseline) = (run("learned", 0, 316.0, 1), run("zero", 0, 310.0, 11));
    let runs = Compared {
        setting: &setting,
        baseline: &baseline,
    };
    let shifts = shifts(runs.map(|run| run.ranks.text_to_image.as_slice()));
    let text = |caption: usize| (format!("a <dog> {caption}"), "image & id".to_owned());
    let (ours, theirs) = (statistics(0.4), statistics(0.1));
    let statistics = Compared {
        setting: &ours,
        baseline: &theirs,
    };
    vec![inside(runs, &shifts, statistics, &text)]
}

fn page(study: &StudyRecord, insides: &[InsideRecord]) -> String {
    let hills: Vec<_> = ["learned", "zero"]
        .map(|name| run(name, 0, 1.0, 1).run)
        .into();
    let page = render_study(&StudyPage {
        study,
        insides,
        hills: &hills,
    });
    if let Err(fault) = markup::check(&page) {
        panic!("{fault}");
    }
    page
}

#[test]
fn means_and_differences_are_those_of_the_runs() {
    let study = summary(&settings());
    assert_eq!((study.planned_runs, study.finished_runs), (8, 5));
    let learned = &study.settings[1];
    let means = learned.means.unwrap();
    assert_eq!((means.rsum.mean, means.rsum.count), (318.0, 2));
    let difference = learned.difference.as_ref().unwrap();
    assert_eq!(difference.seeds, [0, 1]);
    assert_eq!(difference.rsum.over_seeds.mean, 7.0);
    assert!(difference.rsum.of_seeds.unwrap().low < 7.0);
    // Image 0 gains R@1, R@5 and R@10 itself and for one of its two captions; image 1 gains nothing.
    let of_queries = difference.of_queries.unwrap();
    assert!(
        (of_queries.low, of_queries.high) == (0.0, 450.0),
        "{of_queries:?}"
    );
    assert_eq!(study.settings[0].difference, None);
}

#[test]
fn a_sentence_states_difference_intervals_and_significance() {
    let found = sentences(&summary(&settings()));
    assert_eq!(found.len(), 2);
    let start = "learned: rsum +7.0 against zero (95 % interval ";
    let end = " over seeds and 0.0 to +450.0 over images): no significant difference.";
    assert!(
        found[0].starts_with(start) && found[0].ends_with(end),
        "{}",
        found[0]
    );
    let start = "learned, cut: rsum +8.0 against zero (95 % interval ";
    assert!(found[1].starts_with(start), "{}", found[1]);
}

#[test]
fn a_setting_that_trains_nothing_has_no_epochs() {
    let study = summary(&settings());
    let cut = &study.settings[2];
    let difference = cut.difference.as_ref().unwrap();
    assert_eq!(
        (difference.rsum.over_seeds.mean, difference.rsum.of_seeds),
        (8.0, None)
    );
    assert!(cut.runs[0].epochs.is_empty());
    assert_eq!(study.settings[3].means, None);
}

#[test]
fn errors_are_weighed_by_the_penalty_of_the_run() {
    let study = summary(&settings());
    let errors = study.settings[1].runs[0].errors.unwrap();
    let modelled = errors.modelled.unwrap();
    let weighed = (modelled.missed + 2.0 * modelled.passed) / 3.0;
    assert!((modelled.error - weighed).abs() < 1e-12);
    let measured = errors.measured.unwrap();
    assert!((measured.error - (measured.missed + measured.passed) / 2.0).abs() < 1e-12);
}

#[test]
fn the_whole_page_is_well_formed_and_asks_for_nothing() {
    let page = page(&summary(&settings()), &insides());
    for part in [
        "Results of the settings",
        "Over the epochs",
        "The two hills",
        "learned compared with zero, seed 0",
        "of the 1 word with at least 20 occurrences",
        "&lt;dog&gt;",
        "id=\"hills-study-1-0-title\"",
        "5 of 8 runs of 4 settings",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for address in [
        "http://", "https://", "url(", "@import", "<script", "<link", " src=\"/",
    ] {
        assert!(!page.contains(address), "{address}");
    }
    assert!(!page.contains("NaN") && !page.contains(">rare<"));
}

#[test]
fn names_of_a_study_are_escaped() {
    let hostile = "<script>alert(\"x\")</script> & 'y'";
    let mut study = summary(&settings());
    for text in [
        &mut study.name,
        &mut study.command,
        &mut study.split,
        &mut study.device,
    ] {
        hostile.clone_into(text);
    }
    hostile.clone_into(&mut study.baseline);
    for setting in &mut study.settings {
        hostile.clone_into(&mut setting.plan.name);
        hostile.clone_into(&mut setting.plan.group);
        setting.plan.set = vec![hostile.to_owned()];
        setting.plan.of = setting.plan.of.as_ref().map(|_| hostile.to_owned());
    }
    let mut insides = insides();
    for inside in &mut insides {
        hostile.clone_into(&mut inside.of.setting.name);
        hostile.clone_into(&mut inside.most_answered[0].word);
        hostile.clone_into(&mut inside.gained[0].caption);
        hostile.clone_into(&mut inside.gained[0].image);
    }
    let page = page(&study, &insides);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
}

#[test]
fn a_study_that_has_not_begun_is_a_page() {
    let plans: Vec<_> = settings()
        .into_iter()
        .map(|(plan, _)| (plan, vec![]))
        .collect();
    let study = summary(&plans);
    let page = render_study(&StudyPage {
        study: &study,
        insides: &[],
        hills: &[],
    });
    markup::check(&page).expect("well-formed");
    assert!(page.contains("0 of 8 runs of 4 settings are done."));
    assert!(!page.contains("<svg"));
}
