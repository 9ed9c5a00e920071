//! Builds the cargo commands of `train`, `study`, `evaluate`, `data` and `fuzz`.
//!
//! A command runs in the repository root, so that `data/` and `runs/` are always the same folders.
//! Relative paths of the caller are made absolute first.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::backend::{self, Backend, DeviceChoice, Tools};

/// Options of `uard` and `uard-fuzz` whose value is a path.
const PATH_OPTIONS: &[&str] = &[
    "--checkpoint",
    "--config",
    "--data",
    "--images",
    "--map",
    "--out",
    "--run",
    "--similarities",
];

/// The CPU, on which the same seed gives the same bytes; a GPU is used only with `--device`.
const DEFAULT_DEVICE: DeviceChoice = DeviceChoice::Cpu;

/// The exit code of wrong usage or input, the same as that of `uard`.
const WRONG_USAGE: u8 = 2;

/// The folders of a call.
pub struct Folders {
    /// The caller's current directory.
    pub caller: PathBuf,
    /// The repository root.
    pub root: PathBuf,
}

/// One cargo command, not yet started.
#[derive(Debug, PartialEq, Eq)]
pub struct Launch {
    arguments: Vec<OsString>,
    backend: Backend,
    /// A line that is printed before the command starts.
    notice: Option<String>,
}

/// Makes the command of a task from the arguments of a call; the error is what is wrong with them.
pub type Plan = fn(Vec<OsString>, &Folders, &Tools) -> Result<Launch, String>;

/// Plans the command of a task and runs it.
pub fn start(plan: Plan, arguments: Vec<OsString>, folders: &Folders) -> anyhow::Result<ExitCode> {
    let launch = match plan(arguments, folders, &Tools::find(&folders.root)) {
        Ok(launch) => launch,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    if let Some(notice) = &launch.notice {
        println!("{notice}");
        std::io::stdout().flush()?;
    }
    let mut command = cargo(&folders.root);
    command.args(&launch.arguments);
    command.envs(launch.backend.environment()?);
    become_child(command)
}

/// `uard-fuzz`, in the development profile, whose overflow checks and debug assertions find more.
pub fn fuzz(mut arguments: Vec<OsString>, folders: &Folders) -> anyhow::Result<ExitCode> {
    rebase(&mut arguments, folders, PATH_OPTIONS);
    let mut command = cargo(&folders.root);
    command
        .args(["run", "--locked", "--package", "uard-fuzz", "--"])
        .args(arguments);
    become_child(command)
}

/// `uard train`, by default on the embedded data set and compared with `zero`.
pub fn plan_train(
    mut arguments: Vec<OsString>,
    folders: &Folders,
    tools: &Tools,
) -> Result<Launch, String> {
    let choice = device_and_paths(&mut arguments, folders)?.unwrap_or(DEFAULT_DEVICE);
    let mut passed = words(&["train"]);
    if !has_option(&arguments, "--config") {
        passed.extend(words(&["--config", "configs/scenes.toml"]));
    }
    passed.extend(words(&["--device", &name(&choice)]));
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

/// `uard study`, by default on the CPU.
pub fn plan_study(
    arguments: Vec<OsString>,
    folders: &Folders,
    tools: &Tools,
) -> Result<Launch, String> {
    plan_on_device("study", Some(DEFAULT_DEVICE), arguments, folders, tools)
}

/// `uard evaluate`.
pub fn plan_evaluate(
    arguments: Vec<OsString>,
    folders: &Folders,
    tools: &Tools,
) -> Result<Launch, String> {
    plan_on_device("evaluate", None, arguments, folders, tools)
}

/// A command of `uard` that is told the given device, or else `default` if there is one.
fn plan_on_device(
    command: &str,
    default: Option<DeviceChoice>,
    mut arguments: Vec<OsString>,
    folders: &Folders,
    tools: &Tools,
) -> Result<Launch, String> {
    let choice = device_and_paths(&mut arguments, folders)?.or(default);
    let mut passed = words(&[command]);
    if let Some(choice) = choice {
        passed.extend(words(&["--device", &name(&choice)]));
    }
    passed.extend(arguments);
    uard(passed, choice.unwrap_or(DEFAULT_DEVICE), tools)
}

/// `uard data scenes`.
pub fn plan_data(
    mut arguments: Vec<OsString>,
    folders: &Folders,
    tools: &Tools,
) -> Result<Launch, String> {
    rebase(&mut arguments, folders, PATH_OPTIONS);
    let mut passed = words(&["data", "scenes"]);
    if !has_option(&arguments, "--out") {
        passed.extend(words(&["--out", "data/scenes"]));
    }
    passed.extend(arguments);
    uard(passed, DeviceChoice::Cpu, tools).map(|launch| Launch {
        notice: None,
        ..launch
    })
}

/// A command that builds `uard` in release mode and runs it with these arguments.
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

/// Removes `--device` from the arguments and returns its choice; makes relative paths absolute.
fn device_and_paths(
    arguments: &mut Vec<OsString>,
    folders: &Folders,
) -> Result<Option<DeviceChoice>, String> {
    let choice = device(arguments)?;
    rebase(arguments, folders, PATH_OPTIONS);
    Ok(choice)
}

/// Removes every `--device` from the arguments, and returns the choice of the last one.
pub fn device(arguments: &mut Vec<OsString>) -> Result<Option<DeviceChoice>, String> {
    take_option(arguments, "--device")?
        .last()
        .map(|value| DeviceChoice::named(&value.to_string_lossy()))
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

/// Makes the relative paths of some options absolute, unless the caller is already in the repository
/// root, where the command runs.
pub fn rebase(arguments: &mut [OsString], folders: &Folders, options: &[&str]) {
    if folders.caller == folders.root {
        return;
    }
    let mut value_follows = false;
    for argument in arguments {
        if value_follows {
            *argument = folders.caller.join(&*argument).into();
        }
        value_follows = false;
        for name in options {
            match split_option(argument, name) {
                Some(Some(value)) => {
                    let mut absolute = OsString::from(format!("{name}="));
                    absolute.push(folders.caller.join(value));
                    *argument = absolute;
                }
                Some(None) => value_follows = true,
                None => {}
            }
        }
    }
}

/// Converts texts to arguments of a command.
pub fn words(texts: &[&str]) -> Vec<OsString> {
    texts.iter().map(OsString::from).collect()
}

/// The name of a value on the command line.
pub fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// Prints an error about the arguments; returns the exit code.
pub fn refuse(refusal: &str) -> ExitCode {
    eprintln!("error: {refusal}");
    ExitCode::from(WRONG_USAGE)
}

/// A cargo command in the repository root.
pub fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    command
}

/// Runs a command with its output on the terminal. If it fails, the error is `advice`.
///
/// # Errors
/// When it cannot be started, or fails.
pub fn expect_success(command: &mut Command, advice: &str) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(status.success(), "{advice}");
    Ok(())
}

/// Whether a command succeeds; its output is discarded.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Replaces this process by the command, so that it receives signals and gives the exit code.
#[cfg(unix)]
pub fn become_child(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("starting cargo")
}

/// Runs the command and returns its exit code; Ctrl-C is left to the child.
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

    fn at_root() -> Folders {
        Folders {
            caller: "/repository".into(),
            root: "/repository".into(),
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

    fn trained(arguments: &[&str], folders: &Folders) -> Vec<String> {
        let launch = plan_train(words(arguments), folders, &Tools::default()).unwrap();
        passed_to_uard(&launch)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn train_without_arguments_uses_the_embedded_data_and_compares_with_zero() {
        let expected = "train --config configs/scenes.toml --device cpu --compare zero";
        assert_eq!(trained(&[], &at_root()).join(" "), expected);
    }

    #[test]
    fn uard_is_built_in_release_mode_with_the_lock_file() {
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
    fn options_are_found_after_others() {
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
    fn study_passes_its_device_and_absolute_paths() {
        let folders = Folders {
            caller: "/repository/room".into(),
            root: "/repository".into(),
        };
        let given = words(&["--config", "a.toml", "--data=d", "--resume"]);
        let launch = plan_study(given, &folders, &Tools::default()).unwrap();
        let expected = "study --device cpu --config /repository/room/a.toml --data=/repository/room/d --resume";
        assert_eq!(passed_to_uard(&launch).join(" "), expected);
    }

    #[test]
    fn given_comparisons_replace_the_default() {
        let both = trained(&["--compare", "zero", "--compare=scan"], &at_root());
        assert!(both.ends_with(&["--compare", "zero", "--compare", "scan"].map(str::to_owned)));
        let none = trained(&["--compare", "none"], &at_root());
        assert!(!none.contains(&"--compare".to_owned()), "{none:?}");
    }

    #[test]
    fn relative_paths_of_a_subdirectory_become_absolute() {
        let folders = Folders {
            caller: "/repository/docs".into(),
            root: "/repository".into(),
        };
        let passed = trained(
            &[
                "--config",
                "../a.toml",
                "--data=d",
                "--images",
                "p",
                "--run",
                "/r",
            ],
            &folders,
        );
        assert!(
            passed.contains(&"/repository/docs/../a.toml".to_owned()),
            "{passed:?}"
        );
        assert!(
            passed.contains(&"--data=/repository/docs/d".to_owned()),
            "{passed:?}"
        );
        assert!(
            passed.contains(&"/repository/docs/p".to_owned()),
            "{passed:?}"
        );
        assert!(passed.contains(&"/r".to_owned()), "{passed:?}");
    }

    #[test]
    fn cuda_enables_the_feature_or_is_refused() {
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
    fn data_is_written_to_data_scenes_by_default() {
        let launch = plan_data(vec![], &at_root(), &Tools::default()).unwrap();
        assert_eq!(
            passed_to_uard(&launch),
            ["data", "scenes", "--out", "data/scenes"]
        );
        let elsewhere = plan_data(words(&["--out", "x"]), &at_root(), &Tools::default()).unwrap();
        assert_eq!(passed_to_uard(&elsewhere), ["data", "scenes", "--out", "x"]);
    }
}
