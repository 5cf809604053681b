//! Parses patterns in the syntax of Oniguruma's Ruby dialect, which tokenizers use, into trees.
//! Unsupported syntax is an error; no syntax is read with another meaning.

use super::set::Set;

/// The most bytes of a pattern.
const LONGEST: usize = 4096;
/// The deepest nesting of groups.
const DEEPEST: usize = 32;
/// The most repeats of one part.
const MOST_STACKED: usize = 3;
/// The largest count of a repeat.
const MOST_REPEATS: u32 = 1000;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// One character of a set.
    Class(Set),
    /// All of these, in order.
    Sequence(Vec<Node>),
    /// The first of these that matches.
    Choice(Vec<Node>),
    /// The node, repeated.
    Repeat {
        node: Box<Node>,
        least: u32,
        /// None: unlimited.
        most: Option<u32>,
        mode: Mode,
    },
    /// A look-around: whether the node matches after or before this place.
    Look {
        node: Box<Node>,
        behind: bool,
        negative: bool,
    },
    /// An atomic group: only the node's first match.
    Atomic(Box<Node>),
    Place(Place),
}

/// In which order a repeat tries its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The highest count first.
    Greedy,
    /// The lowest count first.
    Lazy,
    /// The highest count only.
    Possessive,
}

/// A place between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    /// The end of the text, or the line feed at its end.
    LastLineEnd,
    WordEdge,
    NoWordEdge,
}

/// Reads a pattern.
pub fn parse(pattern: &str) -> Result<Node, String> {
    if pattern.len() > LONGEST {
        return Err(format!("has more than {LONGEST} bytes"));
    }
    let mut parser = Parser {
        rest: pattern,
        any_case: false,
        depth: 0,
    };
    let node = parser.choice()?;
    match parser.rest.chars().next() {
        None => Ok(node),
        Some(c) => Err(format!("has a `{c}` without its beginning")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    any_case: bool,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn choice(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.sequence()?];
        while self.take("|") {
            nodes.push(self.sequence()?);
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::Choice(nodes)
        })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let node = self.atom()?;
            let node = self.repeats(node)?;
            nodes.push(node);
        }
        if self.any_case {
            folds_alone(&nodes)?;
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::Sequence(nodes)
        })
    }

    fn repeats(&mut self, mut node: Node) -> Result<Node, String> {
        for _ in 0..=MOST_STACKED {
            let (least, most, interval) = if self.take("*") {
                (0, None, false)
            } else if self.take("+") {
                (1, None, false)
            } else if self.take("?") {
                (0, Some(1), false)
            } else if let Some((least, most)) = self.interval()? {
                (least, most, true)
            } else {
                return Ok(node);
            };
            let mode = if self.take("?") {
                if interval && most == Some(least) {
                    return Err("has `{n}?`, which engines read in two ways".to_owned());
                }
                Mode::Lazy
            // After an interval, `+` is another repeat.
            } else if !interval && self.take("+") {
                Mode::Possessive
            } else {
                Mode::Greedy
            };
            if matches!(node, Node::Place(_) | Node::Look { .. }) {
                return Err("repeats a place".to_owned());
            }
            if most != Some(1) && node.may_be_empty() {
                return Err("repeats what may be empty".to_owned());
            }
            node = Node::Repeat {
                node: Box::new(node),
                least,
                most,
                mode,
            };
        }
        Err("repeats a repeat too often".to_owned())
    }

    /// Reads a nested part. This bounds the depth of the tree.
    fn within<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("is nested too deeply".to_owned());
        }
        let inner = read(self)?;
        self.depth -= 1;
        Ok(inner)
    }

    /// `{n}`, `{n,}`, `{,m}` or `{n,m}`. Any other brace is a literal character.
    fn interval(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let Some(inner) = self.rest.strip_prefix('{') else {
            return Ok(None);
        };
        let Some((inner, rest)) = inner.split_once('}') else {
            return Ok(None);
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| match text.parse() {
            Ok(number) if number <= MOST_REPEATS => Ok(number),
            _ => Err(format!("repeats more than {MOST_REPEATS} times")),
        };
        let (least, most) = match inner.split_once(',') {
            None if !inner.is_empty() && digits(inner) => {
                let count = number(inner)?;
                (count, Some(count))
            }
            Some((least, most)) if inner.len() > 1 && digits(least) && digits(most) => {
                let bound = |text: &str| (!text.is_empty()).then(|| number(text)).transpose();
                (bound(least)?.unwrap_or(0), bound(most)?)
            }
            _ => return Ok(None),
        };
        if most.is_some_and(|most| most < least) {
            return Err("has an interval that ends before it begins".to_owned());
        }
        self.rest = rest;
        Ok(Some((least, most)))
    }

    fn atom(&mut self) -> Result<Node, String> {
        let Some(c) = self.next() else {
            return Ok(Node::Sequence(Vec::new()));
        };
        Ok(match c {
            '(' => return self.group(),
            '[' => Node::Class(self.class()?),
            '.' => Node::Class(Set::of(&['\n']).not()),
            '^' => Node::Place(Place::LineStart),
            '$' => Node::Place(Place::LineEnd),
            '*' | '+' | '?' => return Err(format!("has a `{c}` with nothing to repeat")),
            '\\' => {
                let place = match self.rest.chars().next() {
                    Some('A') => Some(Place::TextStart),
                    Some('z') => Some(Place::TextEnd),
                    Some('Z') => Some(Place::LastLineEnd),
                    Some('b') => Some(Place::WordEdge),
                    Some('B') => Some(Place::NoWordEdge),
                    _ => None,
                };
                if let Some(place) = place {
                    self.next();
                    return Ok(Node::Place(place));
                }
                let set = match self.rest.chars().next() {
                    Some('w') => Some(Set::bare_word()),
                    Some('W') => Some(Set::bare_word().not()),
                    _ => None,
                };
                let set = match set {
                    Some(set) => {
                        self.next();
                        set
                    }
                    None => self.escape()?,
                };
                Node::Class(self.cased(set)?)
            }
            c => {
                let set = self.cased(Set::of(&[c]))?;
                Node::Class(set)
            }
        })
    }

    /// A set within `(?i:…)`.
    fn cased(&self, set: Set) -> Result<Set, String> {
        if !self.any_case {
            return Ok(set);
        }
        set.any_case().ok_or_else(|| {
            "has other characters than ASCII within `(?i:`, which only letters of ASCII are known for"
                .to_owned()
        })
    }

    fn group(&mut self) -> Result<Node, String> {
        let before = self.any_case;
        let mut wrap: fn(Node) -> Node = |node| node;
        if self.take("?") {
            if self.take(":") {
            } else if self.take("i:") {
                self.any_case = true;
            } else if self.take("-i:") {
                self.any_case = false;
            } else if self.take("=") {
                wrap = |node| looking(node, false, false);
            } else if self.take("!") {
                wrap = |node| looking(node, false, true);
            } else if self.take("<=") {
                wrap = |node| looking(node, true, false);
            } else if self.take("<!") {
                wrap = |node| looking(node, true, true);
            } else if self.take(">") {
                wrap = |node| Node::Atomic(Box::new(node));
            } else {
                let start: String = self.rest.chars().take(4).collect();
                return Err(format!("has a group of an unknown kind, `(?{start}`"));
            }
        }
        let node = wrap(self.within(Self::choice)?);
        self.any_case = before;
        if !self.take(")") {
            return Err("has a group without end".to_owned());
        }
        if let Node::Look {
            node, behind: true, ..
        } = &node
            && node.width().is_none()
        {
            return Err("looks behind for what has no fixed length".to_owned());
        }
        Ok(node)
    }

    /// The set of an escape, after the backslash.
    fn escape(&mut self) -> Result<Set, String> {
        let Some(c) = self.next() else {
            return Err("ends with a backslash".to_owned());
        };
        let one = |c: char| Ok(Set::of(&[c]));
        match c {
            's' => Ok(Set::space()),
            'S' => Ok(Set::space().not()),
            'w' => Ok(Set::word()),
            'W' => Ok(Set::word().not()),
            'd' => Ok(Set::digit()),
            'D' => Ok(Set::digit().not()),
            'p' | 'P' => {
                let inner = self
                    .rest
                    .strip_prefix('{')
                    .and_then(|inner| inner.split_once('}'));
                let Some((name, rest)) = inner else {
                    return Err(format!("has `\\{c}` without a name in braces"));
                };
                self.rest = rest;
                let (name, inverted) = match name.strip_prefix('^') {
                    Some(name) => (name, true),
                    None => (name, false),
                };
                let set = Set::property(name)
                    .ok_or_else(|| format!("has the unknown property `{name}`"))?;
                Ok(if inverted == (c == 'P') {
                    set
                } else {
                    set.not()
                })
            }
            'n' => one('\n'),
            'r' => one('\r'),
            't' => one('\t'),
            'f' => one('\u{c}'),
            'v' => one('\u{b}'),
            'a' => one('\u{7}'),
            'e' => one('\u{1b}'),
            'x' | 'u' => {
                let (digits, rest) =
                    if let Some(inner) = self.rest.strip_prefix('{').filter(|_| c == 'x') {
                        inner.split_once('}').unwrap_or_default()
                    } else {
                        let count = if c == 'x' { 2 } else { 4 };
                        self.rest.split_at_checked(count).unwrap_or_default()
                    };
                let code = u32::from_str_radix(digits, 16).ok();
                // Oniguruma reads `\xNN` as a byte.
                let code =
                    code.filter(|code| c == 'u' || self.rest.starts_with('{') || *code < 128);
                self.rest = rest;
                let c = code.and_then(char::from_u32);
                c.map_or_else(
                    || Err("has a character by a number that is none".to_owned()),
                    one,
                )
            }
            c if c.is_ascii_alphanumeric() || c == '_' => {
                Err(format!("has `\\{c}`, which is not known here"))
            }
            c => one(c),
        }
    }

    /// A class, after `[`.
    fn class(&mut self) -> Result<Set, String> {
        let inverted = self.take("^");
        let mut set = Set::default();
        // The intersection of the sets before each `&&`.
        let mut both: Option<Set> = None;
        let mut first = true;
        loop {
            let Some(c) = self.next() else {
                return Err("has a class without end".to_owned());
            };
            let item = match c {
                ']' if !first => break,
                '[' if self.rest.starts_with(':') => self.posix()?,
                '[' => self.within(Self::class)?,
                '&' if self.take("&") => {
                    both = Some(both.map_or_else(|| set.clone(), |both| both.and(&set)));
                    set = Set::default();
                    first = false;
                    continue;
                }
                '\\' if self.rest.starts_with('b') => {
                    self.next();
                    Set::of(&['\u{8}'])
                }
                '\\' => {
                    let start = self.escape()?;
                    self.range(start)?
                }
                c => self.range(Set::of(&[c]))?,
            };
            first = false;
            set = set.or(&item);
        }
        let set = both.map_or_else(|| set.clone(), |both| both.and(&set));
        let set = self.cased(set)?;
        Ok(if inverted { set.not() } else { set })
    }

    /// A range that begins with `start`, or `start` alone.
    fn range(&mut self, start: Set) -> Result<Set, String> {
        let Some(rest) = self.rest.strip_prefix('-') else {
            return Ok(start);
        };
        if rest.starts_with(']') || rest.is_empty() {
            return Ok(start);
        }
        let Some(low) = start.single() else {
            // Engines differ on `\s-x`.
            return Err("has a range that begins with a class".to_owned());
        };
        self.rest = rest;
        let end = match self.next() {
            Some('\\') => self.escape()?,
            Some(c) if c != '[' => Set::of(&[c]),
            _ => Set::default(),
        };
        match end.single() {
            Some(high) if high >= low => Ok(Set::new(vec![(low, high)])),
            _ => Err("has a range without an end".to_owned()),
        }
    }

    /// `:name:]`
    fn posix(&mut self) -> Result<Set, String> {
        let Some((name, rest)) = self.rest[1..].split_once(":]") else {
            return Err("has `[:` without `:]`".to_owned());
        };
        self.rest = rest;
        let (name, inverted) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let set = Set::posix(name).ok_or_else(|| format!("has the unknown class `[:{name}:]`"))?;
        Ok(if inverted { set.not() } else { set })
    }
}

fn looking(node: Node, behind: bool, negative: bool) -> Node {
    Node::Look {
        node: Box::new(node),
        behind,
        negative,
    }
}

/// Refuses adjacent letters that fold to one character together, such as `ss` to `ß`.
fn folds_alone(nodes: &[Node]) -> Result<(), String> {
    let pairs = ["ss", "ff", "fi", "fl", "st"];
    let has = |node: &Node, c: Option<char>| match (node, c) {
        (Node::Class(set), Some(c)) => set.has(c),
        _ => false,
    };
    for pair in nodes.windows(2) {
        for fold in pairs {
            let mut letters = fold.chars();
            if has(&pair[0], letters.next()) && has(&pair[1], letters.next()) {
                return Err(format!(
                    "has `{fold}` within `(?i:`, which other characters fold to"
                ));
            }
        }
    }
    Ok(())
}

impl Node {
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Class(_) => false,
            Self::Sequence(nodes) => nodes.iter().all(Self::may_be_empty),
            Self::Choice(nodes) => nodes.iter().any(Self::may_be_empty),
            Self::Repeat { node, least, .. } => *least == 0 || node.may_be_empty(),
            Self::Atomic(node) => node.may_be_empty(),
            Self::Look { .. } | Self::Place(_) => true,
        }
    }

    /// Whether a match may contain one of these characters.
    pub fn takes_any(&self, chars: &Set) -> bool {
        match self {
            Self::Class(set) => set.intersects(chars),
            Self::Sequence(nodes) | Self::Choice(nodes) => {
                nodes.iter().any(|node| node.takes_any(chars))
            }
            Self::Repeat { node, .. } | Self::Atomic(node) => node.takes_any(chars),
            Self::Look { .. } | Self::Place(_) => false,
        }
    }

    /// The least number of characters.
    pub fn least(&self) -> usize {
        match self {
            Self::Class(_) => 1,
            Self::Sequence(nodes) => nodes.iter().map(Self::least).sum(),
            Self::Choice(nodes) => nodes.iter().map(Self::least).min().unwrap_or(0),
            Self::Repeat { node, least, .. } => node.least().saturating_mul(*least as usize),
            Self::Atomic(node) => node.least(),
            Self::Look { .. } | Self::Place(_) => 0,
        }
    }

    /// The number of characters, if it is constant.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Class(_) => Some(1),
            Self::Sequence(nodes) => nodes.iter().map(Self::width).sum(),
            Self::Choice(nodes) => {
                let first = nodes.first().map_or(Some(0), Self::width)?;
                nodes
                    .iter()
                    .all(|node| node.width() == Some(first))
                    .then_some(first)
            }
            Self::Repeat {
                node, least, most, ..
            } => {
                let same = *most == Some(*least);
                same.then(|| node.width()?.checked_mul(*least as usize))
                    .flatten()
            }
            Self::Atomic(node) => node.width(),
            Self::Look { .. } | Self::Place(_) => Some(0),
        }
    }

    /// The characters that the node's matches begin with, except empty matches.
    pub fn first(&self) -> Set {
        match self {
            Self::Class(set) => set.clone(),
            Self::Sequence(nodes) => {
                let mut first = Set::default();
                for node in nodes {
                    first = first.or(&node.first());
                    if !node.may_be_empty() {
                        break;
                    }
                }
                first
            }
            Self::Choice(nodes) => union(nodes, Self::first),
            Self::Repeat { node, .. } | Self::Atomic(node) => node.first(),
            Self::Look { .. } | Self::Place(_) => Set::default(),
        }
    }

    /// The characters that the node may end with.
    fn last(&self) -> Set {
        match self {
            Self::Class(set) => set.clone(),
            Self::Sequence(nodes) => {
                let mut last = Set::default();
                for node in nodes.iter().rev() {
                    last = last.or(&node.last());
                    if !node.may_be_empty() {
                        break;
                    }
                }
                last
            }
            Self::Choice(nodes) => union(nodes, Self::last),
            Self::Repeat { node, .. } | Self::Atomic(node) => node.last(),
            Self::Look { .. } | Self::Place(_) => Set::default(),
        }
    }

    /// Whether matches stay the same if a text is cut between a character of `left` and one of
    /// `right`: none spans such a place or looks across it.
    pub fn ends_between(&self, left: &Set, right: &Set) -> bool {
        let across = |a: &Node, b: &Node| a.last().intersects(left) && b.first().intersects(right);
        match self {
            Self::Class(_) => true,
            Self::Sequence(nodes) => {
                // A look-around sees across the place only if the part before it may end with a
                // character of `left`.
                let mut before = Set::default();
                let mut taken = false;
                for node in nodes {
                    let looks = match node {
                        Self::Look { behind, node, .. } => {
                            *behind || node.width() != Some(1) || !taken || before.intersects(left)
                        }
                        Self::Place(_) => true,
                        _ => !node.ends_between(left, right),
                    };
                    if looks || (before.intersects(left) && node.first().intersects(right)) {
                        return false;
                    }
                    taken |= !node.may_be_empty();
                    before = if node.may_be_empty() {
                        before.or(&node.last())
                    } else {
                        node.last()
                    };
                }
                true
            }
            Self::Choice(nodes) => nodes.iter().all(|node| node.ends_between(left, right)),
            Self::Repeat { node, most, .. } => {
                node.ends_between(left, right) && (*most == Some(1) || !across(node, node))
            }
            Self::Atomic(node) => node.ends_between(left, right),
            Self::Look { .. } | Self::Place(_) => false,
        }
    }
}

fn union(nodes: &[Node], of: impl Fn(&Node) -> Set) -> Set {
    nodes
        .iter()
        .fold(Set::default(), |set, node| set.or(&of(node)))
}
