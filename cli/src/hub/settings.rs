//! The environment variables about the Hub, read as by Python's `huggingface_hub` (its
//! `constants.py`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use url::Url;

const HUB: &str = "https://huggingface.co";

/// How the Hub and its cache are accessed.
pub struct Settings {
    /// The base address, without a slash at its end.
    pub endpoint: Url,
    /// The token that authorises requests to the endpoint.
    pub token: Option<String>,
    /// The cache folder; `None` if the user has no home folder.
    pub cache: Option<PathBuf>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// A file of certificates to trust instead of the usual ones.
    pub certificates: Option<PathBuf>,
}

impl Settings {
    /// Reads the variables of this process.
    pub fn of_process() -> Result<Self> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Self::read(&|name| std::env::var(name).ok(), home.as_deref())
    }

    /// Reads the variables that `lookup` returns.
    fn read(lookup: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Result<Self> {
        let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let is_true = |name: &str| {
            let value = variable(name).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let path = |path: String| expand(&path, lookup, home);
        let hf_home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(folder), _) => path(folder),
            (None, Some(caches)) => path(caches).map(|caches| caches.join("huggingface")),
            (None, None) => home.map(|home| home.join(".cache/huggingface")),
        };
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let cache = match cache {
            Some(folder) => path(folder),
            None => hf_home.as_ref().map(|home| home.join("hub")),
        };
        let token_file = match variable("HF_TOKEN_PATH") {
            Some(file) => path(file),
            None => hf_home.map(|home| home.join("token")),
        };
        let given = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token = given.as_deref().and_then(clean).or_else(|| {
            // `hf auth login` writes this file.
            let implicit = !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
            let file = token_file.filter(|_| implicit)?;
            clean(&std::fs::read_to_string(file).ok()?)
        });
        ensure!(
            token
                .iter()
                .all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())),
            "the Hub's token (HF_TOKEN, or the token file) has characters that no token has: copy it again"
        );
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let endpoint = Url::parse(endpoint.trim().trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .with_context(|| {
                format!("HF_ENDPOINT is {endpoint:?}; it must be an address such as {HUB}")
            })?;
        let offline = match variable("HF_HUB_OFFLINE") {
            Some(_) => is_true("HF_HUB_OFFLINE"),
            None => is_true("TRANSFORMERS_OFFLINE"),
        };
        Ok(Self {
            endpoint,
            token,
            cache,
            offline,
            certificates: variable("SSL_CERT_FILE").map(PathBuf::from),
        })
    }
}

/// Removes the spaces and line ends of a token that come from copying it; `None` if nothing is
/// left.
fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Does the same as Python's `expandvars(expanduser(path))`. `None`: the path begins with the home
/// folder, and the user has none.
fn expand(
    path: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Option<PathBuf> {
    let path = match path.strip_prefix('~') {
        None => path.to_owned(),
        Some(rest) => {
            let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            match user {
                "" => home?.to_str()?.trim_end_matches('/').to_owned() + rest,
                // As in Python, the name of an unknown user is left as it is.
                _ => home_of(user).map_or_else(|| path.to_owned(), |home| home + rest),
            }
        }
    };
    let mut expanded = String::new();
    let mut rest = path.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let closed = after.strip_prefix('{').and_then(|name| name.find('}'));
        let (name, end) = if let Some(length) = closed {
            (&after[1..=length], length + 2)
        } else {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let length = after.find(|letter| !is_word(letter)).unwrap_or(after.len());
            (&after[..length], length)
        };
        match lookup(name).filter(|_| !name.is_empty()) {
            Some(value) => expanded.push_str(&value),
            // Variables that are not set are left as they are.
            None => expanded.extend(["$", &after[..end]]),
        }
        rest = &after[end..];
    }
    Some(PathBuf::from(expanded + rest))
}

/// Returns the home folder of a user by name.
fn home_of(user: &str) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], home: Option<&str>) -> Result<Settings> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&lookup, home.map(Path::new))
    }

    /// What `huggingface_hub` 1.24's `constants.HF_HUB_CACHE` is for the same variables.
    #[test]
    fn the_cache_is_where_python_has_it() {
        // The home of the user root.
        let of_root = if cfg!(target_os = "macos") {
            "/var/root/hf/hub"
        } else {
            "/root/hf/hub"
        };
        for (variables, cache) in [
            (&[][..], "/home/u/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (
                &[("XDG_CACHE_HOME", "~/xdg")],
                "/home/u/xdg/huggingface/hub",
            ),
            (&[("HF_HOME", "~/hf")], "/home/u/hf/hub"),
            (&[("HF_HOME", "~")], "/home/u/hub"),
            (&[("HF_HOME", "~root/hf")], of_root),
            (
                &[("HF_HOME", "~nobody-of-this-name/hf")],
                "~nobody-of-this-name/hf/hub",
            ),
            (
                &[("HF_HOME", "$HOME/hf"), ("HOME", "/other")],
                "/other/hf/hub",
            ),
            (
                &[("HF_HOME", "${HOME}hf"), ("HOME", "/other")],
                "/otherhf/hub",
            ),
            (
                &[("HF_HOME", "/a/$UNSET/${UNSET}/$/${")],
                "/a/$UNSET/${UNSET}/$/${/hub",
            ),
            (
                &[("HF_HOME", "/$A/b"), ("A", "$B"), ("B", "c")],
                "/$B/b/hub",
            ),
            (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")], "/hf/hub"),
            (
                &[("HUGGINGFACE_HUB_CACHE", "~/old"), ("HF_HOME", "/hf")],
                "/home/u/old",
            ),
            (
                &[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/new",
            ),
            (&[("HF_HUB_CACHE", ""), ("HF_HOME", "/hf")], "/hf/hub"),
        ] {
            let settings = read(variables, Some("/home/u")).expect("it can be read");
            assert_eq!(settings.cache, Some(cache.into()), "{variables:?}");
        }
        assert_eq!(read(&[], None).expect("it can be read").cache, None);
        let relative = read(&[("HF_HOME", "~/hf")], None).expect("it can be read");
        assert_eq!(relative.cache, None);
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        for (value, offline) in [
            ("1", true),
            ("ON", true),
            ("on", true),
            ("Yes", true),
            ("true", true),
            ("TRUE", true),
            ("0", false),
            ("False", false),
            ("no", false),
            ("off", false),
            ("2", false),
            ("", false),
        ] {
            let settings = read(&[("HF_HUB_OFFLINE", value)], None).expect("it can be read");
            assert_eq!(settings.offline, offline, "{value:?}");
        }
        let of = |variables| read(variables, None).expect("it can be read").offline;
        assert!(of(&[("TRANSFORMERS_OFFLINE", "1")]));
        assert!(!of(&[
            ("HF_HUB_OFFLINE", "0"),
            ("TRANSFORMERS_OFFLINE", "1")
        ]));
    }

    #[test]
    fn tokens_are_trimmed_and_endpoints_too() {
        for (given, token) in [
            ("secret\n", Some("secret")),
            (" secret\r\n", Some("secret")),
            ("\n", None),
        ] {
            let settings = read(&[("HF_TOKEN", given)], None).expect("it can be read");
            assert_eq!(settings.token.as_deref(), token);
        }
        assert!(read(&[("HF_TOKEN", "a b")], None).is_err());
        for (given, endpoint) in [
            ("http://mirror.example/", "http://mirror.example/"),
            ("http://mirror.example/hf//", "http://mirror.example/hf"),
            ("", "https://huggingface.co/"),
        ] {
            let settings = read(&[("HF_ENDPOINT", given)], None).expect("it can be read");
            assert_eq!(settings.endpoint.as_str(), endpoint);
        }
        for wrong in ["mirror.example", "ftp://mirror.example", "file:///etc"] {
            assert!(read(&[("HF_ENDPOINT", wrong)], None).is_err(), "{wrong}");
        }
    }
}
