//! Installs what a fresh machine lacks: the wasm target, npm packages, browsers, the clients that
//! test the server.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::{command, output, root, run, say, target};

/// The target that we compile to.
pub const WASM: &str = "wasm32-unknown-unknown";

/// Adds the wasm target to the toolchain.
pub fn wasm_target() -> Result<()> {
    let sysroot =
        output(command("rustc").args(["--print", "sysroot"])).context("rustc cannot be started")?;
    if Path::new(&sysroot)
        .join("lib/rustlib")
        .join(WASM)
        .join("lib")
        .exists()
    {
        return Ok(());
    }
    say("adding the wasm target to the Rust toolchain");
    run(command("rustup").args(["target", "add", WASM]))
}

/// Checks Node's version and installs the npm packages of package-lock.json.
pub fn npm_packages() -> Result<()> {
    let version = output(command("node").arg("--version"))
        .context("node cannot be started: install Node.js 20 or newer")?;
    let major: Option<u32> = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    ensure!(
        major.is_some_and(|major| major >= 20),
        "this is Node {version}: install Node.js 20 or newer"
    );

    let lock = fs::read(root().join("package-lock.json"))?;
    let stamp = target().join("npm-installed.json");
    if root().join("node_modules").exists()
        && fs::read(&stamp).is_ok_and(|installed| installed == lock)
    {
        return Ok(());
    }
    say("installing npm packages");
    run(command("npm").args(["ci", "--no-audit", "--no-fund"]))?;
    fs::create_dir_all(target())?;
    fs::write(stamp, lock)?;
    Ok(())
}

/// Finds Chromium and Firefox, or installs them from Debian's packages.
pub fn browsers() -> Result<()> {
    let found = |variable: &str, path: &str| {
        std::env::var_os(variable).is_some() || Path::new(path).exists()
    };
    let mut missing = Vec::new();
    if !found("CHROMIUM", "/usr/bin/chromium") {
        missing.push("chromium");
    }
    if !found("FIREFOX", "/usr/bin/firefox-esr") {
        missing.push("firefox-esr");
    }
    packages(&missing).context("the browsers could not be installed: install chromium and firefox-esr by hand, and set CHROMIUM and FIREFOX to them")
}

/// Finds a Vulkan driver, or installs Mesa's drivers, which include one in software.
pub fn vulkan() -> Result<()> {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let has_driver =
        |folder| fs::read_dir(folder).is_ok_and(|mut drivers| drivers.next().is_some());
    let named = std::env::var_os("VK_DRIVER_FILES").or(std::env::var_os("VK_ICD_FILENAMES"));
    if cfg!(target_os = "macos") || named.is_some() || folders.into_iter().any(has_driver) {
        return Ok(());
    }
    packages(&["mesa-vulkan-drivers"])
        .context("install a Vulkan driver by hand, such as Mesa's lavapipe")
}

/// Installs curl and the Python packages that the tests use.
pub fn testers() -> Result<()> {
    let answers = |program: &str, args: &[&str]| output(command(program).args(args)).is_some();
    let mut missing = Vec::new();
    if !answers("curl", &["--version"]) {
        missing.push("curl");
    }
    if !answers("openssl", &["version"]) {
        missing.push("openssl");
    }
    if !answers("python3", &["-m", "pip", "--version"]) {
        missing.push("python3-pip");
    }
    packages(&missing).context("install curl, openssl, and python3 with pip, by hand")?;
    let wanted = root().join("tests/js/support/python.txt");
    let folder = target().join("python");
    let stamp = folder.join("installed.txt");
    let versions = fs::read(&wanted)?;
    if fs::read(&stamp).is_ok_and(|installed| installed == versions) {
        return Ok(());
    }
    say("installing Python packages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(command("python3")
        .args(install)
        .arg("--target")
        .arg(&folder)
        .arg("--requirement")
        .arg(wanted))?;
    fs::write(stamp, versions)?;
    Ok(())
}

/// Installs the bundlers and the package checkers into target/, so that the normal install stays
/// light.
pub fn bundlers() -> Result<()> {
    beside("bundlers")
}

/// Installs the old and new major versions of the libraries that the adapters are for.
pub fn peers() -> Result<()> {
    beside("peers")
}

/// Installs the npm packages of a folder of the tests into target/.
fn beside(name: &str) -> Result<()> {
    let folder = target().join(name);
    let wanted = root().join("tests/js").join(name);
    let lock = fs::read(wanted.join("package-lock.json"))?;
    let stamp = folder.join("installed.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    say(&format!("installing {name}"));
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(wanted.join(file), folder.join(file))?;
    }
    run(command("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&folder))?;
    fs::write(stamp, lock)?;
    Ok(())
}

/// Installs Debian packages.
fn packages(names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    ensure!(
        output(command("apt-get").arg("--version")).is_some(),
        "this machine lacks {}, and there is no apt-get",
        names.join(" and ")
    );
    say(&format!("installing {}", names.join(" and ")));
    run(command("apt-get").args(["update", "-q"]))?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    run(command("apt-get")
        .args(install)
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}
