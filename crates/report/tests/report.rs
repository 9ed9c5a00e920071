//! Tests that the report is well-formed, self-contained and escaped for any records.

pub mod markup;
pub mod sample;

use uard_report::page::{ReportInput, render};
use uard_report::record::{CaptionExample, Hills, RunRecord};

fn page(runs: &[RunRecord], examples: &[CaptionExample]) -> String {
    let page = render(&ReportInput {
        title: "Scenes",
        runs,
        examples,
        command: "uard train",
    });
    if let Err(fault) = markup::check(&page) {
        panic!("{fault}");
    }
    page
}

#[test]
fn whole_report_is_well_formed() {
    let page = page(&sample::runs(), &sample::examples());
    for heading in [
        "Results",
        "Over the epochs",
        "The two hills",
        "Captions and the images found for them",
    ] {
        assert!(page.contains(heading), "{heading}");
    }
}

#[test]
fn page_refers_to_nothing_outside_itself() {
    let page = page(&sample::runs(), &sample::examples());
    for address in [
        "http://", "https://", "url(", "@import", "<script", "<link", " src=\"/",
    ] {
        assert!(!page.contains(address), "{address}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn text_of_records_is_escaped_everywhere() {
    let hostile = "<script>alert(\"x\")</script> & 'y'";
    let (mut runs, mut examples) = (sample::runs(), sample::examples());
    for run in &mut runs {
        for text in [
            &mut run.name,
            &mut run.config,
            &mut run.device,
            &mut run.data_hash,
        ] {
            hostile.clone_into(text);
        }
        let test = run.test.as_mut().expect("the sample has test results");
        hostile.clone_into(&mut test.split);
        hostile.clone_into(&mut test.retrieval.protocol);
    }
    for example in &mut examples {
        hostile.clone_into(&mut example.caption);
        hostile.clone_into(&mut example.matched.id);
        example
            .words
            .iter_mut()
            .for_each(|word| hostile.clone_into(&mut word.text));
        example
            .found
            .iter_mut()
            .for_each(|found| hostile.clone_into(&mut found.image.id));
    }
    let input = ReportInput {
        title: hostile,
        runs: &runs,
        examples: &examples,
        command: hostile,
    };
    let page = render(&input);
    markup::check(&page).expect("well-formed");
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn first_best_and_last_epoch_have_hills() {
    let page = page(&sample::runs(), &[]);
    for epoch in [1, 9, 10] {
        assert!(
            page.contains(&format!("Epoch {epoch}, learned threshold</title>")),
            "{epoch}"
        );
    }
    // Six epochs of the first run, one of each other run; no epoch twice.
    assert_eq!(page.matches("<figure class=\"chart hills\">").count(), 8);
    assert_eq!(page.matches("<path class=\"hill ").count(), 16);
    assert!(page.contains(">t = 0.252</text>"));
}

#[test]
fn empty_input_is_a_page() {
    let page = page(&[], &[]);
    assert!(page.contains("No epoch has been evaluated yet."));
    assert!(!page.contains("<svg"));
}

#[test]
fn run_stopped_before_its_first_epoch_is_a_page() {
    let mut runs = sample::runs();
    runs.truncate(1);
    (runs[0].epochs, runs[0].test) = (Vec::new(), None);
    assert!(!page(&runs, &[]).contains("id=\"hills\""));
}

#[test]
fn one_run_of_one_epoch_without_test_is_compared_with_nothing() {
    let mut runs = sample::runs();
    runs.truncate(1);
    runs[0].epochs.truncate(1);
    (runs[0].test, runs[0].best_epoch) = (None, 1);
    let page = page(&runs, &[]);
    assert!(page.contains("on dev and attends to"));
    assert!(page.contains("In epoch 1 of the run"));
    assert!(!page.contains("Bold"));
}

#[test]
fn without_samples_there_are_no_hills() {
    let mut runs = sample::runs();
    for epoch in runs.iter_mut().flat_map(|run| &mut run.epochs) {
        epoch.hills = Hills::default();
    }
    assert!(!page(&runs, &[]).contains("id=\"hills\""));
}

#[test]
fn runs_are_compared_on_dev_where_one_lacks_test() {
    let mut runs = sample::runs();
    runs[1].test = None;
    assert!(page(&runs, &[]).contains("Results on dev"));
}

#[test]
fn numbers_that_are_not_finite_are_never_drawn() {
    for hole in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (mut runs, mut examples) = (sample::runs(), sample::examples());
        for run in &mut runs {
            run.seconds = hole;
            let epoch = &mut run.epochs[2];
            (epoch.loss, epoch.threshold, epoch.learning_rate) = (hole, hole, hole);
            epoch.dev.retrieval.rsum = hole;
            epoch.dev.kept.cells = hole;
            let fit = epoch
                .hills
                .relevant_fit
                .as_mut()
                .expect("the sample has fits");
            (fit.mean, fit.std) = (hole, hole);
            let test = run.test.as_mut().expect("the sample has test results");
            (test.threshold, test.retrieval.rsum, test.kept.cells) = (hole, hole, hole);
        }
        for example in &mut examples {
            example
                .words
                .iter_mut()
                .for_each(|word| word.relevance = hole as f32);
            example
                .found
                .iter_mut()
                .for_each(|found| found.similarity = hole as f32);
        }
        let page = page(&runs, &examples);
        let text = markup::without_data(&page);
        assert!(!text.contains("NaN") && !text.contains("\"inf") && !text.contains("-inf"));
    }
}

#[test]
fn sentences_follow_the_numbers() {
    let mut runs = sample::runs();
    let loses = page(&runs, &[]);
    let sentence = "the learned threshold reaches 2.2 points less rsum on test and attends to 93.3";
    assert!(loses.contains(sentence));
    runs[0].test.as_mut().expect("test").retrieval.rsum = 425.0;
    runs[0].test.as_mut().expect("test").kept.cells = 0.78;
    let gains = page(&runs, &[]);
    let sentence =
        "the learned threshold reaches 5.7 points more rsum on test and attends to 100.0";
    assert!(gains.contains(sentence));
}

#[test]
fn same_records_give_the_same_bytes() {
    let (runs, examples) = (sample::runs(), sample::examples());
    assert_eq!(page(&runs, &examples), page(&runs, &examples));
}

#[test]
fn control_characters_become_spaces() {
    let page = render(&ReportInput {
        title: "<b a=\"1\">&'\u{0}b\u{1b}c",
        runs: &[],
        examples: &[],
        command: "",
    });
    assert!(page.contains("<h1>&lt;b a=&quot;1&quot;&gt;&amp;' b c</h1>"));
}
