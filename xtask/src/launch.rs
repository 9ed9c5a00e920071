//! How do `train`, `study`, `evaluate` and `data` become one cargo command?
//!
//! The command runs in the repository root, so that `data/` and `runs/` are always the same
//! folders; paths that the caller gave keep their meaning.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::backend::{self, Backend, DeviceChoice, Tools};

/// Options of `uard` and `uard-bench` whose value is a path.
const PATH_OPTIONS: &[&str] = &[
    "--checkpoint",
    "--config",
    "--data",
    "--json",
    "--map",
    "--out",
    "--record",
    "--run",
    "--similarities",
];

/// Where the same seed gives the same bytes; a GPU is used when it is asked for.
const DEFAULT_DEVICE: DeviceChoice = DeviceChoice::Cpu;

/// The exit code of wrong usage or input, as `uard` has it.
const WRONG_USAGE: u8 = 2;

/// Where the caller stands, and where the repository is.
pub struct Place {
    pub caller: PathBuf,
    pub root: PathBuf,
}

/// One cargo command, not yet started.
#[derive(Debug, PartialEq, Eq)]
struct Launch {
    arguments: Vec<OsString>,
    backend: Backend,
    /// What is said before it starts.
    notice: Option<String>,
}

/// `uard train`, with the embedded data set and the comparison with `zero` where nothing else is said.
pub fn train(arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    start(
        plan_train(arguments, place, &Tools::find(&place.root)),
        place,
    )
}

/// `uard study`, on the CPU where nothing else is said.
pub fn study(arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    start(
        plan_study(arguments, place, &Tools::find(&place.root)),
        place,
    )
}

/// `uard evaluate`.
pub fn evaluate(arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    start(
        plan_evaluate(arguments, place, &Tools::find(&place.root)),
        place,
    )
}

/// `uard data scenes`.
pub fn data(arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    start(plan_data(arguments, place), place)
}

/// `uard-fuzz`, in the profile whose overflow checks and debug assertions find more.
pub fn fuzz(mut arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    rebase(&mut arguments, place);
    let mut command = cargo(&place.root);
    command
        .args(["run", "--locked", "--package", "uard-fuzz", "--"])
        .args(arguments);
    become_child(command)
}

fn plan_train(
    mut arguments: Vec<OsString>,
    place: &Place,
    tools: &Tools,
) -> Result<Launch, String> {
    let choice = device_and_paths(&mut arguments, place)?.unwrap_or(DEFAULT_DEVICE);
    let mut passed = words(&["train"]);
    if !has_option(&arguments, "--config") {
        passed.extend(words(&["--config", "configs/scenes.toml"]));
    }
    passed.extend(words(&["--device", choice.name()]));
    let compared = take_option(&mut arguments, "--compare")?;
    match compared.is_empty() {
        true => passed.extend(words(&["--compare", "zero"])),
        false => {
            for rule in compared.into_iter().filter(|rule| rule != "none") {
                passed.extend([OsString::from("--compare"), rule]);
            }
        }
    }
    passed.extend(arguments);
    uard(passed, choice, tools)
}

fn plan_study(
    mut arguments: Vec<OsString>,
    place: &Place,
    tools: &Tools,
) -> Result<Launch, String> {
    let choice = device_and_paths(&mut arguments, place)?.unwrap_or(DEFAULT_DEVICE);
    let mut passed = words(&["study", "--device", choice.name()]);
    passed.extend(arguments);
    uard(passed, choice, tools)
}

fn plan_evaluate(
    mut arguments: Vec<OsString>,
    place: &Place,
    tools: &Tools,
) -> Result<Launch, String> {
    let given = device_and_paths(&mut arguments, place)?;
    let mut passed = words(&["evaluate"]);
    if let Some(choice) = given {
        passed.extend(words(&["--device", choice.name()]));
    }
    passed.extend(arguments);
    uard(passed, given.unwrap_or(DEFAULT_DEVICE), tools)
}

fn plan_data(mut arguments: Vec<OsString>, place: &Place) -> Result<Launch, String> {
    rebase(&mut arguments, place);
    let mut passed = words(&["data", "scenes"]);
    if !has_option(&arguments, "--out") {
        passed.extend(words(&["--out", "data/scenes"]));
    }
    passed.extend(arguments);
    uard(passed, DeviceChoice::Cpu, &Tools::default()).map(|launch| Launch {
        notice: None,
        ..launch
    })
}

/// The release build of `uard` with these arguments.
fn uard(passed: Vec<OsString>, choice: DeviceChoice, tools: &Tools) -> Result<Launch, String> {
    let (backend, reason) = backend::choose(choice, tools)?;
    let mut arguments = words(&["run", "--release", "--locked", "--package", "uard-cli"]);
    if let Some(feature) = backend.feature() {
        arguments.extend(words(&["--features", feature]));
    }
    arguments.push("--".into());
    arguments.extend(passed);
    let notice = format!("building uard for {}: {reason}", backend.name());
    Ok(Launch {
        arguments,
        backend,
        notice: Some(notice),
    })
}

/// Takes the device out of the arguments, and makes paths those of the caller.
fn device_and_paths(
    arguments: &mut Vec<OsString>,
    place: &Place,
) -> Result<Option<DeviceChoice>, String> {
    let choice = device(arguments)?;
    rebase(arguments, place);
    Ok(choice)
}

/// Takes `--device` out of the arguments; the last one counts.
pub fn device(arguments: &mut Vec<OsString>) -> Result<Option<DeviceChoice>, String> {
    take_option(arguments, "--device")?
        .last()
        .map(|value| value.to_string_lossy().parse())
        .transpose()
}

/// Removes every `name VALUE` and `name=VALUE`, and returns the values in order.
fn take_option(arguments: &mut Vec<OsString>, name: &str) -> Result<Vec<OsString>, String> {
    let mut values = Vec::new();
    let mut kept = Vec::with_capacity(arguments.len());
    let mut rest = std::mem::take(arguments).into_iter();
    while let Some(argument) = rest.next() {
        match split_option(&argument, name) {
            Some(Some(value)) => values.push(value),
            Some(None) => {
                values.push(rest.next().ok_or_else(|| format!("{name} needs a value"))?);
            }
            None => kept.push(argument),
        }
    }
    *arguments = kept;
    Ok(values)
}

fn has_option(arguments: &[OsString], name: &str) -> bool {
    arguments
        .iter()
        .any(|argument| split_option(argument, name).is_some())
}

/// `Some(None)` for `name`, `Some(Some(value))` for `name=value`, `None` for anything else.
fn split_option(argument: &OsStr, name: &str) -> Option<Option<OsString>> {
    if argument == name {
        return Some(None);
    }
    let value = argument.to_str()?.strip_prefix(name)?.strip_prefix('=')?;
    Some(Some(value.into()))
}

/// Makes relative paths absolute where the caller stands elsewhere than in the root.
pub fn rebase(arguments: &mut [OsString], place: &Place) {
    if place.caller == place.root {
        return;
    }
    let mut value_follows = false;
    for argument in arguments {
        if value_follows {
            *argument = place.caller.join(&*argument).into();
        }
        value_follows = false;
        for name in PATH_OPTIONS {
            match split_option(argument, name) {
                Some(Some(value)) => {
                    let mut absolute = OsString::from(format!("{name}="));
                    absolute.push(place.caller.join(value));
                    *argument = absolute;
                }
                Some(None) => value_follows = true,
                None => {}
            }
        }
    }
}

/// Arguments of a command.
pub fn words(texts: &[&str]) -> Vec<OsString> {
    texts.iter().map(OsString::from).collect()
}

fn start(plan: Result<Launch, String>, place: &Place) -> anyhow::Result<ExitCode> {
    let launch = match plan {
        Ok(launch) => launch,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    if let Some(notice) = &launch.notice {
        println!("{notice}");
        std::io::stdout().flush()?;
    }
    let mut command = cargo(&place.root);
    command.args(&launch.arguments);
    command.envs(launch.backend.environment()?);
    become_child(command)
}

/// Says what is wrong with the arguments, or missing for them.
pub fn refuse(refusal: &str) -> ExitCode {
    eprintln!("error: {refusal}");
    ExitCode::from(WRONG_USAGE)
}

/// Cargo, in the root of the repository.
pub fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    command
}

/// Replaces this process, so that signals and the exit code are the child's own.
#[cfg(unix)]
pub fn become_child(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("starting cargo")
}

/// Waits for the child and leaves Ctrl-C to it.
#[cfg(not(unix))]
pub fn become_child(mut command: Command) -> anyhow::Result<ExitCode> {
    ctrlc::set_handler(|| {}).context("leaving Ctrl-C to the child")?;
    let status = command.status().context("starting cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Toolkit;

    fn at_root() -> Place {
        Place {
            caller: "/house".into(),
            root: "/house".into(),
        }
    }

    fn passed_to_uard(launch: &Launch) -> Vec<&str> {
        launch
            .arguments
            .iter()
            .map(|argument| argument.to_str().unwrap())
            .skip_while(|argument| *argument != "--")
            .skip(1)
            .collect()
    }

    fn trained(arguments: &[&str], place: &Place) -> Vec<String> {
        let launch = plan_train(words(arguments), place, &Tools::default()).unwrap();
        passed_to_uard(&launch)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn train_without_arguments_is_the_embedded_job_beside_zero() {
        let expected = "train --config configs/scenes.toml --device cpu --compare zero";
        assert_eq!(trained(&[], &at_root()).join(" "), expected);
    }

    #[test]
    fn the_build_is_a_locked_release_of_the_binary() {
        let launch = plan_train(vec![], &at_root(), &Tools::default()).unwrap();
        let cargo = words(&[
            "run",
            "--release",
            "--locked",
            "--package",
            "uard-cli",
            "--",
        ]);
        assert_eq!(launch.arguments[..6], cargo);
    }

    #[test]
    fn options_are_found_behind_passed_ones() {
        let passed = trained(
            &[
                "--set",
                "seed=3",
                "--config=a.toml",
                "--device",
                "cpu",
                "--resume",
            ],
            &at_root(),
        );
        let expected = "train --device cpu --compare zero --set seed=3 --config=a.toml --resume";
        assert_eq!(passed.join(" "), expected);
    }

    #[test]
    fn study_names_its_device_and_keeps_the_callers_paths() {
        let place = Place {
            caller: "/house/room".into(),
            root: "/house".into(),
        };
        let given = words(&["--config", "a.toml", "--data=d", "--resume"]);
        let launch = plan_study(given, &place, &Tools::default()).unwrap();
        let expected =
            "study --device cpu --config /house/room/a.toml --data=/house/room/d --resume";
        assert_eq!(passed_to_uard(&launch).join(" "), expected);
    }

    #[test]
    fn comparisons_of_the_caller_replace_the_default() {
        let both = trained(&["--compare", "zero", "--compare=scan"], &at_root());
        assert!(both.ends_with(&["--compare", "zero", "--compare", "scan"].map(str::to_owned)));
        let none = trained(&["--compare", "none"], &at_root());
        assert!(!none.contains(&"--compare".to_owned()), "{none:?}");
    }

    #[test]
    fn paths_keep_their_meaning_in_a_subdirectory() {
        let place = Place {
            caller: "/house/docs".into(),
            root: "/house".into(),
        };
        let passed = trained(
            &["--config", "../a.toml", "--data=d", "--run", "/r"],
            &place,
        );
        assert!(
            passed.contains(&"/house/docs/../a.toml".to_owned()),
            "{passed:?}"
        );
        assert!(
            passed.contains(&"--data=/house/docs/d".to_owned()),
            "{passed:?}"
        );
        assert!(passed.contains(&"/r".to_owned()), "{passed:?}");
    }

    #[test]
    fn cuda_turns_the_feature_on_or_refuses() {
        let tools = Tools {
            toolkit: Some(Toolkit::Installed("/cuda/bin/nvcc".into())),
            gpu: true,
            ..Tools::default()
        };
        let launch = plan_train(words(&["--device", "cuda"]), &at_root(), &tools).unwrap();
        let found = launch
            .arguments
            .windows(2)
            .any(|pair| pair == words(&["--features", "cuda"]));
        assert!(found, "{launch:?}");
        let refused = plan_train(words(&["--device", "cuda"]), &at_root(), &Tools::default());
        assert!(refused.unwrap_err().contains("nvcc"));
    }

    #[test]
    fn a_missing_value_is_an_error() {
        let refused = plan_train(words(&["--device"]), &at_root(), &Tools::default());
        assert_eq!(refused.unwrap_err(), "--device needs a value");
    }

    #[test]
    fn evaluate_passes_a_device_only_where_one_was_given() {
        let plain = plan_evaluate(words(&["--split", "dev"]), &at_root(), &Tools::default());
        assert_eq!(
            passed_to_uard(&plain.unwrap()),
            ["evaluate", "--split", "dev"]
        );
    }

    #[test]
    fn data_goes_to_the_usual_folder() {
        let launch = plan_data(vec![], &at_root()).unwrap();
        assert_eq!(
            passed_to_uard(&launch),
            ["data", "scenes", "--out", "data/scenes"]
        );
        let elsewhere = plan_data(words(&["--out", "x"]), &at_root()).unwrap();
        assert_eq!(passed_to_uard(&elsewhere), ["data", "scenes", "--out", "x"]);
    }
}
