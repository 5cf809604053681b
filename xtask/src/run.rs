//! Runs other programs, and knows the project's folders.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Time of the first message of this process.
static START: OnceLock<Instant> = OnceLock::new();

/// Prints what is being done, and the time since the first message. It goes to stderr: stdout is
/// for results.
pub fn say(what: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("xtask {:02}:{:02}: {what}", seconds / 60, seconds % 60);
}

/// A command that runs in the repository's root. Its stdout goes to our stderr.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    // Set by `cargo xtask` for itself; an inner cargo must find its own.
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end. Anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    if !status.success() {
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        bail!(
            "`{} {}` failed ({status})",
            command.get_program().display(),
            args.join(" ")
        );
    }
    Ok(())
}

/// As [`run`], with all that the command prints in one piece at its end: others print meanwhile.
pub fn run_with_log(command: &mut Command, name: &str) -> Result<()> {
    let folder = target().join("logs");
    fs::create_dir_all(&folder)?;
    let letters = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let path = folder.join(format!("{letters}.log"));
    let log = File::create(&path)?;
    let done = run(command.stdout(log.try_clone()?).stderr(log));
    io::copy(&mut File::open(&path)?, &mut io::stderr().lock())?;
    say(&match &done {
        Ok(()) => format!("passed: {name}"),
        Err(_) => format!("FAILED: {name}"),
    });
    done
}

/// Runs a command, and returns what it prints. Anything but success is an error.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A script of the root's package.json.
pub fn npm_script(name: &str) -> Command {
    let mut npm = command("npm");
    npm.args(["run", "--silent", name]);
    npm
}
