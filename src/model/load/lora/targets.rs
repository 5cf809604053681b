//! Which modules the settings of an adapter are for, by PEFT's rules.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::text::pattern::Pattern;

/// Modules by their names.
pub enum Names {
    /// All.
    All,
    /// Those whose names end with one of these.
    Listed(Vec<String>),
    /// Those that a regular expression is for.
    Pattern(Box<Regex>),
}

/// A regular expression.
pub struct Regex {
    text: String,
    /// Matches a whole name.
    whole: Pattern,
    /// Matches a whole name, or the end of it after a full stop.
    end: Pattern,
}

impl Names {
    /// Those that a regular expression matches.
    pub fn pattern(config: &Config, field: &str, text: &str) -> Result<Self> {
        let compile = |pattern: &str| {
            Pattern::new(pattern).map_err(|reason| {
                config.wrong(field, &format!("a pattern that is supported ({reason})"))
            })
        };
        Ok(Self::Pattern(Box::new(Regex {
            whole: compile(&format!(r"\A(?:{text})\z"))?,
            end: compile(&format!(r"\A(?:.*\.)?(?:{text})\z"))?,
            text: text.to_owned(),
        })))
    }

    fn read(config: &Config, field: &str) -> Result<Option<Self>> {
        Ok(match config.get(field) {
            None => None,
            Some(Value::String(all))
                if field == "target_modules" && all.eq_ignore_ascii_case("all-linear") =>
            {
                Some(Self::All)
            }
            Some(Value::String(pattern)) => Some(Self::pattern(config, field, pattern)?),
            Some(_) => Some(Self::Listed(names(config, field)?)),
        })
    }

    /// Whether it has a module.
    fn has(&self, module: &str) -> Result<bool> {
        match self {
            Self::All => Ok(true),
            Self::Listed(list) => Ok(list.iter().any(|name| ends_with(module, name))),
            Self::Pattern(regex) => matches(&regex.whole, &regex.text, module),
        }
    }

    /// Whether the pattern matches the name or its end.
    pub fn match_end(&self, module: &str) -> Result<bool> {
        match self {
            Self::Pattern(regex) => matches(&regex.end, &regex.text, module),
            Self::All | Self::Listed(_) => self.has(module),
        }
    }
}

/// A list of names.
pub fn names(config: &Config, field: &str) -> Result<Vec<String>> {
    let wrong = || config.wrong(field, "a list of names");
    let Some(list) = config.get(field) else {
        return Ok(Vec::new());
    };
    let list = list.as_array().ok_or_else(wrong)?.iter();
    let names: Option<_> = list.map(|name| name.as_str().map(str::to_owned)).collect();
    names.ok_or_else(wrong)
}

/// Whether a name is another one, or ends with it after a full stop.
fn ends_with(module: &str, name: &str) -> bool {
    let before = module.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn matches(pattern: &Pattern, text: &str, module: &str) -> Result<bool> {
    let mut found = false;
    pattern.matches(module, |_, _| found = true).map_err(|_| {
        Error::config(
            "adapter_config.json",
            format!("the pattern {text:?} takes too long"),
        )
    })?;
    Ok(found)
}

/// The modules that are adapted.
pub struct Targets {
    named: Names,
    excluded: Option<Names>,
    /// Numbers of the layers; none if all are.
    layers: Option<Vec<u64>>,
    /// What comes before the number of a layer.
    before: Vec<Names>,
    has_before: bool,
}

impl Targets {
    /// Reads them.
    pub fn read(config: &Config) -> Result<Self> {
        let targets = Names::read(config, "target_modules")?;
        let targets = targets
            .ok_or_else(|| config.wrong("target_modules", "names of modules, or a pattern"))?;
        let field = "layers_to_transform";
        let layers = match config.get(field) {
            None => None,
            Some(Value::Array(list)) => {
                let numbers: Option<Vec<u64>> = list.iter().map(Value::as_u64).collect();
                Some(numbers.ok_or_else(|| config.wrong(field, "a number, or a list of numbers"))?)
                    .filter(|numbers| !numbers.is_empty())
            }
            Some(one) => {
                let number = one
                    .as_u64()
                    .ok_or_else(|| config.wrong(field, "a number, or a list of numbers"))?;
                Some(vec![number])
            }
        };
        let field = "layers_pattern";
        let patterns = match config.get(field) {
            Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
            Some(Value::String(_)) => Vec::new(),
            _ => names(config, field)?,
        };
        let before = patterns
            .iter()
            .map(|pattern| Names::pattern(config, field, pattern));
        Ok(Self {
            named: targets,
            excluded: Names::read(config, "exclude_modules")?,
            layers,
            has_before: !patterns.is_empty(),
            before: before.collect::<Result<_>>()?,
        })
    }

    /// Whether a module is adapted.
    pub fn has(&self, module: &str) -> Result<bool> {
        if let Some(excluded) = &self.excluded
            && excluded.has(module)?
        {
            return Ok(false);
        }
        if !self.named.has(module)? {
            return Ok(false);
        }
        // PEFT reads these for lists only, and not for a module that is listed by its whole name.
        let (Some(layers), Names::Listed(list)) = (&self.layers, &self.named) else {
            return Ok(true);
        };
        if list.iter().any(|name| name == module) {
            return Ok(true);
        }
        Ok(self
            .layer(module)?
            .is_some_and(|layer| layers.contains(&layer)))
    }

    /// The number of a module's layer: the first part of its name that is a number, where what is
    /// before it has a pattern that it fits.
    fn layer(&self, module: &str) -> Result<Option<u64>> {
        let mut at = 0;
        for part in module.split('.') {
            let before = &module[..at.max(1) - 1];
            let end = at + part.len();
            at = end + 1;
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || end == module.len() {
                continue;
            }
            let fits = if self.has_before {
                let mut fits = false;
                for pattern in &self.before {
                    fits |= pattern.match_end(before)?;
                }
                fits
            } else {
                // `\.[^.]*\.` before the number: two parts at least.
                before.contains('.')
            };
            if fits {
                return Ok(part.parse().ok());
            }
        }
        Ok(None)
    }
}
