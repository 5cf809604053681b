//! Runs every check: formatting, lints, types, native tests, wasm tests, and the package in Node
//! and browsers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Condvar, Mutex, mpsc};

use anyhow::{Context, Result, bail};

use crate::run::{cargo, command, npm_script, output, root, run, run_with_log, say, target};
use crate::{build, model, serve, setup};

/// Runs all tests, in two lanes. One builds the package, the other what is native; then both take
/// what is left. Few of the tests keep two cores busy. The builds use the release and the
/// development profile, so they share no folder that cargo locks.
pub fn all() -> Result<()> {
    setup::wasm_target()?;
    setup::npm_packages()?;
    model::ensure(model::DEFAULT)?;
    let queue = &Queue::default();
    let (is_set_up, setups) = mpsc::channel();
    let package = move || {
        queue.prepare(|| {
            build::package()?;
            serve::demo_data()?;
            // Nothing comes if the setup failed; the other lane says why.
            if setups.recv().is_err() {
                return Ok(());
            }
            lint_typescript()?;
            document_package()?;
            queue.fill(kernels()?.into_iter().chain(suites()?));
            Ok(())
        })?;
        queue.work(false)
    };
    let natively = move || {
        queue.prepare(|| {
            // Downloads run while the first builds do.
            setup::vulkan()?;
            setup::browsers()?;
            setup::testers()?;
            setup::bundlers()?;
            setup::peers()?;
            // The other lane may have failed already.
            let _ = is_set_up.send(());
            lint_rust()?;
            document_crate()?;
            say("testing natively");
            // This also builds the server's binary and the examples, which the tests in JavaScript
            // run.
            run(cargo().args(["test", "--quiet"]))?;
            // In the profile that xtask runs in, in which it is built already.
            run(cargo().args(["test", "--quiet", "--package", "xtask", "--profile", "dev"]))
        })?;
        queue.work(true)
    };
    both(package, natively)?;
    say("all tests passed");
    Ok(())
}

/// A command, and what it is.
struct Job {
    name: String,
    command: Command,
    /// Whether it runs binaries that `cargo test` builds.
    needs_binaries: bool,
}

/// Jobs that wait for a lane.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Whether the jobs were added.
    is_filled: bool,
    /// Whether a lane failed, so that no further job is begun.
    is_closed: bool,
}

impl Queue {
    fn fill(&self, jobs: impl Iterator<Item = Job>) {
        let mut state = self.state.lock().expect("no lane panics with it");
        state.jobs.extend(jobs);
        state.is_filled = true;
        self.changed.notify_all();
    }

    /// Does what comes before the jobs. If it fails or panics, no further job is begun: the other
    /// lane would wait for jobs that nobody adds.
    fn prepare(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let unfinished = Unfinished(self);
        act()?;
        std::mem::forget(unfinished);
        Ok(())
    }

    /// Runs jobs until none is left. A job that fails does not stop the others.
    fn work(&self, has_binaries: bool) -> Result<()> {
        let mut failed = Vec::new();
        while let Some(mut job) = self.next(has_binaries) {
            say(&job.name);
            if let Err(error) = run_with_log(&mut job.command, &job.name) {
                failed.push(format!("{error:#}"));
            }
        }
        if !failed.is_empty() {
            bail!("{}", failed.join("; and "));
        }
        Ok(())
    }

    /// The next job that this lane can run. With the binaries it takes those first that need them:
    /// the other lane cannot.
    fn next(&self, has_binaries: bool) -> Option<Job> {
        let mut state = self.state.lock().expect("no lane panics with it");
        loop {
            if state.is_closed {
                return None;
            }
            let own = |job: &Job| job.needs_binaries == has_binaries;
            let at = state.jobs.iter().position(own);
            let any = has_binaries && !state.jobs.is_empty();
            if let Some(at) = at.or(any.then_some(0)) {
                return state.jobs.remove(at);
            }
            if state.is_filled {
                return None;
            }
            state = self.changed.wait(state).expect("no lane panics with it");
        }
    }
}

/// Closes a queue when it is dropped.
struct Unfinished<'a>(&'a Queue);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().expect("no lane panics with it");
        state.is_closed = true;
        self.0.changed.notify_all();
    }
}

/// The kernels as wasm, in both builds.
fn kernels() -> Result<Vec<Job>> {
    let builds = [
        ("simd128", &[][..]),
        ("relaxed-simd", &["--features", "relaxed-simd"][..]),
    ];
    let job = |(build, features)| {
        Ok(Job {
            name: format!("testing the kernels as wasm in Node ({build})"),
            command: wasm(features)?,
            needs_binaries: false,
        })
    };
    builds.into_iter().map(job).collect()
}

/// The suites in JavaScript.
fn suites() -> Result<Vec<Job>> {
    let suites = output(command("node").args(["tests/js/run.mjs", "--list"]))
        .context("tests/js/run.mjs does not list its suites")?;
    let job = |line: &str| {
        let (suite, needs) = line.split_once(' ').unwrap_or((line, ""));
        let mut command = npm_script(&format!("test:{suite}"));
        // A missing browser is an error here. By hand its tests are skipped.
        command
            .env("GOSSAMER_BROWSERS", "required")
            .env("GOSSAMER_TARGET", target());
        Job {
            name: format!("npm run test:{suite}"),
            command,
            needs_binaries: needs == "binaries",
        }
    };
    Ok(suites.lines().map(job).collect())
}

/// Runs two functions in parallel, both to their end. The errors of both are reported.
fn both(one: impl FnOnce() -> Result<()> + Send, other: impl FnOnce() -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().expect("it reports what goes wrong");
        match (one, other) {
            (Err(one), Err(other)) => bail!("{one:#}; and {other:#}"),
            (one, other) => one.and(other),
        }
    })
}

/// The command that runs the library's own tests as wasm. Node 20 computes relaxed SIMD wrongly, so
/// that build runs in a newer Node.
fn wasm(features: &[&str]) -> Result<Command> {
    let runner = std::env::current_exe()?;
    let runner = format!(
        "{} wasm-test-runner",
        runner.to_str().context("the path of xtask is not UTF-8")?
    );
    let mut test = cargo();
    test.args([
        "test",
        // The profile of the published build.
        "--release",
        "--lib",
        "--package",
        "gossamer-embed",
        "--target",
        setup::WASM,
    ])
    .args(features);
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    if !features.is_empty() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let newer = std::iter::once(newer_node()?).chain(std::env::split_paths(&path));
        test.env("PATH", std::env::join_paths(newer)?);
    }
    Ok(test)
}

/// The folder of the newer Node, which an npm package installs.
fn newer_node() -> Result<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    let folder = root().join(format!("node_modules/node-linux-{arch}/bin"));
    anyhow::ensure!(
        folder.join("node").exists(),
        "{} has no node: run `npm ci`",
        folder.display()
    );
    Ok(folder)
}

/// Runs a wasm test binary; cargo calls this through `wasm-test-runner`.
pub fn wasm_runner(args: Vec<String>) -> Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(
        std::iter::once("wasm-test-runner".to_owned()).chain(args),
    )
}

/// Checks formatting, lints and types; warnings are errors.
pub fn lint() -> Result<()> {
    setup::wasm_target()?;
    setup::npm_packages()?;
    lint_rust()?;
    lint_typescript()
}

fn lint_rust() -> Result<()> {
    say("checking formatting and lints (Rust)");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    let deny = ["--", "-D", "warnings"];
    run(cargo()
        .args(["clippy", "--quiet", "--workspace", "--all-targets"])
        .args(deny))?;
    for features in [
        &[][..],
        &["--features", "relaxed-simd"][..],
        &["--no-default-features"][..],
    ] {
        let clippy = [
            "clippy",
            "--quiet",
            "--package",
            "gossamer-embed",
            "--lib",
            "--target",
            setup::WASM,
        ];
        run(cargo().args(clippy).args(features).args(deny))?;
    }
    Ok(())
}

fn lint_typescript() -> Result<()> {
    say("checking formatting, lints and types (TypeScript)");
    run(&mut npm_script("lint"))?;
    run(&mut npm_script("check"))
}

/// Makes the API reference, for Rust and for JavaScript. A public item without documentation is an
/// error.
pub fn reference() -> Result<()> {
    setup::npm_packages()?;
    setup::bundlers()?;
    document_crate()?;
    document_package()
}

fn document_crate() -> Result<()> {
    say("documenting the crate");
    run(cargo()
        .args(["doc", "--quiet", "--no-deps", "--package", "gossamer-embed"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn document_package() -> Result<()> {
    say("documenting the package");
    let typedoc = target().join("bundlers/node_modules/typedoc/bin/typedoc");
    let out = target().join("doc/js");
    run(command("node")
        .arg(typedoc)
        .args([
            "--options",
            "pkg/typedoc.json",
            "--logLevel",
            "Warn",
            "--out",
        ])
        .arg(out))
}

/// Formats all sources.
pub fn format() -> Result<()> {
    setup::npm_packages()?;
    run(cargo().args(["fmt", "--all"]))?;
    run(&mut npm_script("format"))?;
    run(command("git").args(["status", "--short"]))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use anyhow::anyhow;

    use super::{Command, Job, Queue, bail, both, root};

    #[test]
    fn what_goes_wrong_on_either_side_is_told() {
        let said = |one, other| {
            let fail = |what: Option<&'static str>| what.map_or(Ok(()), |what| Err(anyhow!(what)));
            both(move || fail(one), || fail(other)).map_err(|error| error.to_string())
        };
        assert_eq!(said(None, None), Ok(()));
        assert_eq!(said(Some("one"), None), Err("one".into()));
        assert_eq!(said(None, Some("other")), Err("other".into()));
        assert_eq!(
            said(Some("one"), Some("other")),
            Err("one; and other".into())
        );
    }

    /// The Rust files of a folder that no other file declares as a module. Nothing compiles them,
    /// so their tests never run.
    fn undeclared(folder: &Path) -> Vec<PathBuf> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let mut parents: String = ["lib.rs", "main.rs", "mod.rs"]
            .map(|name| read(folder.join(name)))
            .concat();
        parents += &read(folder.with_extension("rs"));
        let declares = |name: &str| {
            let path = format!("#[path = \"{name}.rs\"]");
            let code = parents.lines().map(str::trim);
            if code.clone().any(|line| line == path) {
                return true;
            }
            code.filter_map(|line| line.strip_suffix(';')).any(|line| {
                line.split_once("mod ")
                    .is_some_and(|(_, what)| what == name)
            })
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_root = ["lib", "main", "mod"].contains(&name);
            if path.is_dir() {
                found.extend(undeclared(&path));
            }
            let holds_rust = path.is_dir() && path.join("mod.rs").exists();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if (holds_rust || is_rust && !is_root) && !declares(name) {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_file_is_compiled() {
        for folder in [
            "src",
            "cli/src",
            "xtask/src",
            "tests/native",
            "tests/common",
            "fuzz/src",
        ] {
            assert_eq!(undeclared(&root().join(folder)), [""; 0].map(PathBuf::from));
        }
    }

    #[test]
    fn a_file_that_no_other_declares_is_found() {
        let folder = std::env::temp_dir().join(format!("gossamer-{}", std::process::id()));
        let inner = folder.join("inner");
        fs::create_dir_all(&inner).unwrap();
        for (name, text) in [
            (
                "main.rs",
                "mod one;\n    pub(crate) mod inner;\n// mod three\n",
            ),
            ("one.rs", ""),
            ("two.rs", ""),
            ("three.rs", ""),
            ("inner/mod.rs", "mod four;"),
            ("inner/four.rs", ""),
            ("inner/five.rs", ""),
            ("kernel.wgsl", ""),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let mut found = undeclared(&folder);
        found.sort();
        fs::remove_dir_all(&folder).unwrap();
        let names = ["inner/five.rs", "three.rs", "two.rs"];
        assert_eq!(found, names.map(|name| folder.join(name)));
    }

    fn job(name: &str, program: &str, needs_binaries: bool) -> Job {
        Job {
            name: format!("job of a test: {name}"),
            command: Command::new(program),
            needs_binaries,
        }
    }

    #[test]
    fn two_lanes_do_all_jobs_and_report_what_failed() {
        let queue = Queue::default();
        let lanes = std::thread::scope(|scope| {
            let early = scope.spawn(|| queue.work(false));
            let jobs = [
                job("one", "true", false),
                job("two", "false", true),
                job("three", "true", false),
                job("four", "true", true),
            ];
            queue.fill(jobs.into_iter());
            let early = early.join().expect("it does not panic");
            [early, queue.work(true)]
        });
        assert!(lanes[0].is_ok());
        let failed = lanes[1].as_ref().expect_err("a job failed").to_string();
        assert!(failed.contains("`false ` failed"), "{failed}");
        assert!(queue.state.lock().expect("nobody panicked").jobs.is_empty());
    }

    #[test]
    fn a_lane_that_fails_before_the_jobs_ends_the_other() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| queue.work(false));
            let failed = queue.prepare(|| bail!("it cannot be built"));
            assert!(failed.is_err());
            assert!(other.join().expect("it does not panic").is_ok());
        });
    }

    #[test]
    fn a_lane_that_panics_before_the_jobs_ends_the_other() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| queue.work(true));
            let panicked = scope.spawn(|| queue.prepare(|| panic!("a panic of a test")));
            assert!(panicked.join().is_err());
            assert!(other.join().expect("it does not panic").is_ok());
        });
    }
}
