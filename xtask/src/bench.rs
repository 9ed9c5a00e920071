//! Starts the benches: `uard-bench`, which compares with peers, or criterion's benches.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use crate::backend::{self, Backend, DeviceChoice, Tools};
use crate::launch::{Folders, become_child, cargo, device, rebase, refuse, words};

/// The option that selects criterion's benches; all other arguments are passed to criterion.
const CRITERION: &str = "--criterion";

/// The feature of `uard-benches` that compiles a peer's C library.
const PEER_FEATURE: &str = "numkong";

/// Builds and starts `uard-bench`, or criterion's benches.
pub fn run(mut arguments: Vec<OsString>, folders: &Folders) -> anyhow::Result<ExitCode> {
    if let Some(at) = arguments.iter().position(|argument| argument == CRITERION) {
        let mut command = cargo(&folders.root);
        command.args(criterion(arguments, at));
        return become_child(command);
    }
    let backend = match backend(&mut arguments, &Tools::find(&folders.root)) {
        Ok(backend) => backend,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let mut features: Vec<&str> = backend.feature().into_iter().collect();
    features.push(PEER_FEATURE);
    println!("building uard-bench");
    let built = cargo(&folders.root)
        .args(uard_bench("build", &features))
        .envs(backend.environment()?)
        .status()
        .context("starting cargo")?;
    if !built.success() {
        println!("building uard-bench without the peer numkong: see the errors above");
        features.pop();
    }
    let mut command = cargo(&folders.root);
    command
        .args(race(arguments, folders, &features))
        .envs(backend.environment()?);
    become_child(command)
}

/// The backend of `--device`. Its name replaces the value of `--device` in the arguments, because
/// `uard-bench` does not accept `auto`.
fn backend(arguments: &mut Vec<OsString>, tools: &Tools) -> Result<Backend, String> {
    let Some(choice) = device(arguments)? else {
        return Ok(Backend::Cpu);
    };
    if choice == DeviceChoice::Metal {
        return Err(
            "--device metal: the benches have no suite for Metal; use --device cpu or cuda"
                .to_owned(),
        );
    }
    let (chosen, _) = backend::choose(choice, tools)?;
    // `auto` chooses Metal on macOS; the benches run on the CPU there.
    let backend = match chosen {
        Backend::Metal => Backend::Cpu,
        other => other,
    };
    arguments.extend(words(&["--device", backend.name()]));
    Ok(backend)
}

/// Options of `uard-bench` whose value is a path.
const PATH_OPTIONS: &[&str] = &["--json", "--record"];

fn race(mut arguments: Vec<OsString>, folders: &Folders, features: &[&str]) -> Vec<OsString> {
    rebase(&mut arguments, folders, PATH_OPTIONS);
    let mut command = uard_bench("run", features);
    command.push("--".into());
    command.extend(arguments);
    command
}

fn criterion(mut arguments: Vec<OsString>, at: usize) -> Vec<OsString> {
    arguments.remove(at);
    let mut command = words(&["bench", "--locked", "--package", "uard-benches", "--"]);
    command.extend(arguments);
    command
}

fn uard_bench(task: &str, features: &[&str]) -> Vec<OsString> {
    let mut command = words(&[
        task,
        "--release",
        "--locked",
        "--package",
        "uard-benches",
        "--bin",
        "uard-bench",
    ]);
    if !features.is_empty() {
        command.extend(words(&["--features", &features.join(",")]));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Toolkit;

    fn inside() -> Folders {
        Folders {
            caller: "/repository/docs".into(),
            root: "/repository".into(),
        }
    }

    fn texts(command: &[OsString]) -> String {
        let texts: Vec<_> = command.iter().map(|text| text.to_string_lossy()).collect();
        texts.join(" ")
    }

    #[test]
    fn the_bench_is_a_locked_release_build_with_the_given_features() {
        let command = texts(&race(words(&["--suite", "train"]), &inside(), &["numkong"]));
        assert_eq!(
            command,
            "run --release --locked --package uard-benches --bin uard-bench --features numkong -- \
             --suite train"
        );
        assert!(!texts(&race(vec![], &inside(), &[])).contains("--features"));
        // `--images` is a number here, and no folder as for `uard train`.
        let sized = words(&["--images", "200", "--json", "table.json"]);
        let sized = texts(&race(sized, &inside(), &[]));
        assert!(
            sized.ends_with("--images 200 --json /repository/docs/table.json"),
            "{sized}"
        );
        assert!(texts(&uard_bench("build", &[])).starts_with("build --release --locked"));
    }

    #[test]
    fn a_device_is_built_in_and_passed_to_the_bench() {
        let tools = Tools {
            toolkit: Some(Toolkit::Ours("/repository/target/cuda-toolkit/cuda".into())),
            gpu: true,
            ..Tools::default()
        };
        let mut arguments = words(&["--device=cuda", "--suite", "gpu"]);
        let backend = backend(&mut arguments, &tools).unwrap();
        assert_eq!(backend.feature(), Some("cuda"));
        assert_eq!(texts(&arguments), "--suite gpu --device cuda");
        let mut arguments = words(&["--device", "cuda"]);
        assert!(super::backend(&mut arguments, &Tools::default()).is_err());
        assert_eq!(super::backend(&mut vec![], &tools).unwrap(), Backend::Cpu);
    }

    #[test]
    fn auto_is_replaced_by_the_chosen_device_and_metal_is_refused() {
        let with_gpu = Tools {
            toolkit: Some(Toolkit::Ours("/repository/target/cuda-toolkit/cuda".into())),
            gpu: true,
            ..Tools::default()
        };
        let mac = Tools {
            macos: true,
            ..Tools::default()
        };
        let passed = |tools: &Tools| {
            let mut arguments = words(&["--device", "auto"]);
            let backend = backend(&mut arguments, tools).unwrap();
            (backend.feature(), texts(&arguments))
        };
        assert_eq!(
            passed(&with_gpu),
            (Some("cuda"), "--device cuda".to_owned())
        );
        for tools in [Tools::default(), mac] {
            assert_eq!(passed(&tools), (None, "--device cpu".to_owned()));
            let refusal = backend(&mut words(&["--device", "metal"]), &tools).unwrap_err();
            assert!(refusal.contains("no suite for Metal"), "{refusal}");
        }
    }

    #[test]
    fn relative_output_paths_are_relative_to_the_callers_folder() {
        let command = texts(&race(
            words(&["--json", "out.json"]),
            &inside(),
            &["numkong"],
        ));
        assert!(
            command.ends_with("--json /repository/docs/out.json"),
            "{command}"
        );
    }

    #[test]
    fn other_arguments_are_passed_to_criterion() {
        let command = texts(&criterion(words(&["--criterion", "kernels", "--quick"]), 0));
        assert_eq!(
            command,
            "bench --locked --package uard-benches -- kernels --quick"
        );
    }
}
