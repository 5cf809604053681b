//! The patterns of tokenizers: a small backtracking engine that reads them as Oniguruma does.
//!
//! Patterns are short and match nearly everywhere, so an engine that tries the branches in order is
//! also the fastest. A branch is entered only if the next character may begin it, and a repeated
//! class is one instruction. Size and steps are bounded.

mod parse;
mod set;

use std::sync::LazyLock;

use parse::{Mode, Node, Place};
pub use set::Set;

/// The most instructions of a pattern.
const MOST_INSTRUCTIONS: usize = 4096;
/// The most ranges in all sets of a pattern.
const MOST_RANGES: usize = 40_000;
/// Steps that are allowed for each byte of a text, in addition to a fixed number.
const STEPS_PER_BYTE: usize = 200;
const STEPS: usize = 100_000;
/// No guard: any character may follow.
const NO_GUARD: u16 = u16::MAX;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    code: Vec<Op>,
    sets: Vec<Set>,
    tree: Node,
    /// Characters that a match may begin with; none if a match may be empty.
    first: Option<Set>,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// One character of a set.
    Class(u16),
    /// A run of characters of a set.
    Run {
        set: u16,
        least: u32,
        most: u32,
        possessive: bool,
    },
    /// Continues at the next instruction if the next character is in the guard, and at `other` if
    /// that fails.
    Branch {
        guard: u16,
        other: u32,
    },
    /// Continues at `other`, and at the next instruction if that fails.
    Skip {
        other: u32,
    },
    Jump(u32),
    /// A look-around: whether the instructions up to `end` match here, or so many characters
    /// before. The position does not change.
    Look {
        back: u32,
        negative: bool,
        end: u32,
    },
    /// An atomic group: the instructions up to `end`, without backtracking into them.
    Atomic {
        end: u32,
    },
    Place(Place),
    /// The end of the pattern, of a look-around or of an atomic group.
    Accept,
}

/// Where to continue after a failure.
#[derive(Clone, Copy)]
struct Retry {
    op: usize,
    at: usize,
    /// The position may go back this far, one character at a time.
    least: usize,
}

/// The pattern took too many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Pattern {
    /// Reads a pattern. The error says what in it is not supported.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let tree = parse::parse(pattern)?;
        let mut compiled = Self {
            code: Vec::new(),
            sets: Vec::new(),
            first: (!tree.may_be_empty()).then(|| tree.first()),
            tree: Node::Sequence(Vec::new()),
        };
        compiled.add(&tree)?;
        compiled.op(Op::Accept)?;
        compiled.tree = tree;
        Ok(compiled)
    }

    /// The least bytes of a match.
    pub fn least(&self) -> usize {
        self.tree.least()
    }

    /// Whether matches stay the same if a text is cut between a character of `left` and one of
    /// `right`: none spans such a place or looks across it.
    pub fn ends_between(&self, left: &Set, right: &Set) -> bool {
        self.tree.ends_between(left, right)
    }

    /// Whether a match may contain one of these characters.
    pub fn takes_any(&self, chars: &Set) -> bool {
        self.tree.takes_any(chars)
    }

    fn op(&mut self, op: Op) -> Result<usize, String> {
        if self.code.len() == MOST_INSTRUCTIONS {
            return Err("is too large".to_owned());
        }
        self.code.push(op);
        Ok(self.code.len() - 1)
    }

    fn here(&self) -> u32 {
        // At most MOST_INSTRUCTIONS.
        u32::try_from(self.code.len()).unwrap_or(u32::MAX)
    }

    fn set(&mut self, set: &Set) -> Result<u16, String> {
        let known = self.sets.iter().position(|known| known == set);
        let place = known.unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        });
        if self.sets.iter().map(Set::size).sum::<usize>() > MOST_RANGES {
            return Err("has too many classes".to_owned());
        }
        u16::try_from(place)
            .ok()
            .filter(|place| *place < NO_GUARD)
            .ok_or_else(|| "has too many classes".to_owned())
    }

    fn guard(&mut self, node: &Node) -> Result<u16, String> {
        if node.may_be_empty() {
            return Ok(NO_GUARD);
        }
        self.set(&node.first())
    }

    fn add(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::Class(set) => {
                let set = self.set(set)?;
                self.op(Op::Class(set))?;
            }
            Node::Sequence(nodes) => {
                for node in nodes {
                    self.add(node)?;
                }
            }
            Node::Choice(nodes) => self.choice(nodes)?,
            Node::Repeat {
                node,
                least,
                most,
                mode,
            } => self.repeat(node, *least, *most, *mode)?,
            Node::Look {
                node,
                behind,
                negative,
            } => {
                let back = if *behind {
                    node.width().unwrap_or(0)
                } else {
                    0
                };
                let back = u32::try_from(back).map_err(|_| "is too large")?;
                let look = self.op(Op::Accept)?;
                self.add(node)?;
                self.op(Op::Accept)?;
                self.code[look] = Op::Look {
                    back,
                    negative: *negative,
                    end: self.here(),
                };
            }
            Node::Atomic(node) => self.atomic(|this| this.add(node))?,
            Node::Place(place) => drop(self.op(Op::Place(*place))?),
        }
        Ok(())
    }

    fn atomic(&mut self, body: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let start = self.op(Op::Accept)?;
        body(self)?;
        self.op(Op::Accept)?;
        self.code[start] = Op::Atomic { end: self.here() };
        Ok(())
    }

    fn choice(&mut self, nodes: &[Node]) -> Result<(), String> {
        let mut jumps = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            if at + 1 == nodes.len() {
                self.add(node)?;
                continue;
            }
            let guard = self.guard(node)?;
            let branch = self.op(Op::Accept)?;
            self.add(node)?;
            jumps.push(self.op(Op::Accept)?);
            self.code[branch] = Op::Branch {
                guard,
                other: self.here(),
            };
        }
        for jump in jumps {
            self.code[jump] = Op::Jump(self.here());
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        node: &Node,
        least: u32,
        most: Option<u32>,
        mode: Mode,
    ) -> Result<(), String> {
        if let (Node::Class(set), Mode::Greedy | Mode::Possessive) = (node, mode) {
            let set = self.set(set)?;
            self.op(Op::Run {
                set,
                least,
                most: most.unwrap_or(u32::MAX),
                possessive: mode == Mode::Possessive,
            })?;
            return Ok(());
        }
        if mode == Mode::Possessive {
            return self.atomic(|this| this.repeat(node, least, most, Mode::Greedy));
        }
        for _ in 0..least {
            self.add(node)?;
        }
        let guard = self.guard(node)?;
        let enter = |other| match mode {
            Mode::Lazy => Op::Skip { other },
            _ => Op::Branch { guard, other },
        };
        match most {
            None => {
                let branch = self.op(Op::Accept)?;
                self.add(node)?;
                self.op(Op::Jump(u32::try_from(branch).unwrap_or(u32::MAX)))?;
                self.code[branch] = enter(self.here());
            }
            Some(most) => {
                let mut branches = Vec::new();
                for _ in least..most {
                    branches.push(self.op(Op::Accept)?);
                    self.add(node)?;
                }
                for branch in branches {
                    self.code[branch] = enter(self.here());
                }
            }
        }
        Ok(())
    }

    /// Calls `found` with the start and the end of each match, in order.
    pub fn matches(&self, text: &str, mut found: impl FnMut(usize, usize)) -> Result<(), TooSlow> {
        let mut machine = Machine {
            pattern: self,
            text,
            steps: STEPS + STEPS_PER_BYTE * text.len(),
            retries: Vec::new(),
        };
        let mut at = 0;
        // End of the last match. An empty match is not allowed there.
        let mut last = None;
        while at <= text.len() {
            let next = text[at..].chars().next();
            let may = self
                .first
                .as_ref()
                .is_none_or(|first| next.is_some_and(|c| first.has(c)));
            let end = if may { machine.run(0, at)? } else { None };
            let width = next.map_or(1, char::len_utf8);
            match end {
                Some(end) if end > at => {
                    found(at, end);
                    last = Some(end);
                    at = end;
                }
                Some(_) if last != Some(at) => {
                    found(at, at);
                    at += width;
                }
                _ => at += width,
            }
        }
        Ok(())
    }
}

/// Whether `\w` matches a character outside of a class.
pub fn is_word(c: char) -> bool {
    static WORD: LazyLock<Set> = LazyLock::new(Set::bare_word);
    WORD.has(c)
}

struct Machine<'a> {
    pattern: &'a Pattern,
    text: &'a str,
    /// Steps that are left.
    steps: usize,
    retries: Vec<Retry>,
}

impl Machine<'_> {
    fn char_at(&self, at: usize) -> Option<char> {
        let byte = *self.text.as_bytes().get(at)?;
        if byte < 128 {
            return Some(char::from(byte));
        }
        self.text[at..].chars().next()
    }

    fn char_before(&self, at: usize) -> Option<char> {
        self.text[..at].chars().next_back()
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooSlow> {
        self.steps = self.steps.checked_sub(steps).ok_or(TooSlow)?;
        Ok(())
    }

    /// The end of the match of the instructions from `op` on that begins at `at`.
    #[expect(clippy::too_many_lines, reason = "an arm for each instruction")]
    fn run(&mut self, mut op: usize, mut at: usize) -> Result<Option<usize>, TooSlow> {
        let floor = self.retries.len();
        loop {
            self.spend(1)?;
            let matched = match self.pattern.code[op] {
                Op::Accept => {
                    self.retries.truncate(floor);
                    return Ok(Some(at));
                }
                Op::Class(set) => match self.char_at(at) {
                    Some(c) if self.pattern.sets[usize::from(set)].has(c) => {
                        at += c.len_utf8();
                        true
                    }
                    _ => false,
                },
                Op::Run {
                    set,
                    least,
                    most,
                    possessive,
                } => {
                    let set = &self.pattern.sets[usize::from(set)];
                    let mut count = 0;
                    let mut earliest = at;
                    let mut end = at;
                    while count < most {
                        match self.char_at(end) {
                            Some(c) if set.has(c) => end += c.len_utf8(),
                            _ => break,
                        }
                        count += 1;
                        if count == least {
                            earliest = end;
                        }
                    }
                    self.spend(count as usize)?;
                    if count < least {
                        false
                    } else {
                        if !possessive && end > earliest {
                            self.retries.push(Retry {
                                op: op + 1,
                                at: end,
                                least: earliest,
                            });
                        }
                        at = end;
                        true
                    }
                }
                Op::Branch { guard, other } => {
                    let other = other as usize;
                    let may = guard == NO_GUARD
                        || self
                            .char_at(at)
                            .is_some_and(|c| self.pattern.sets[usize::from(guard)].has(c));
                    if !may {
                        op = other;
                        continue;
                    }
                    self.retries.push(Retry {
                        op: other,
                        at,
                        least: usize::MAX,
                    });
                    true
                }
                Op::Skip { other } => {
                    self.retries.push(Retry {
                        op: op + 1,
                        at,
                        least: usize::MAX,
                    });
                    op = other as usize;
                    continue;
                }
                Op::Jump(to) => {
                    op = to as usize;
                    continue;
                }
                Op::Look {
                    back,
                    negative,
                    end,
                } => {
                    let mut start = Some(at);
                    for _ in 0..back {
                        let before =
                            start.and_then(|at| Some(at - self.char_before(at)?.len_utf8()));
                        start = before;
                    }
                    let found = match start {
                        Some(start) => self.run(op + 1, start)?.is_some(),
                        None => false,
                    };
                    if found != negative {
                        op = end as usize;
                        continue;
                    }
                    false
                }
                Op::Atomic { end } => match self.run(op + 1, at)? {
                    Some(after) => {
                        at = after;
                        op = end as usize;
                        continue;
                    }
                    None => false,
                },
                Op::Place(place) => self.is_at(place, at),
            };
            if matched {
                op += 1;
                continue;
            }
            if self.retries.len() == floor {
                return Ok(None);
            }
            let Some(retry) = self.retries.pop() else {
                return Ok(None);
            };
            op = retry.op;
            at = retry.at;
            if retry.least != usize::MAX {
                // A run gives back one character at a time.
                at -= self.char_before(at).map_or(0, char::len_utf8);
                if at > retry.least {
                    self.retries.push(Retry { at, ..retry });
                }
            }
        }
    }

    fn is_at(&self, place: Place, at: usize) -> bool {
        let before = self.char_before(at);
        let next = self.char_at(at);
        let is_word = |c: Option<char>| c.is_some_and(is_word);
        match place {
            Place::LineStart => before.is_none() || (before == Some('\n') && next.is_some()),
            Place::LineEnd => next.is_none() || next == Some('\n'),
            Place::TextStart => before.is_none(),
            Place::TextEnd => next.is_none(),
            Place::LastLineEnd => &self.text[at..] == "\n" || next.is_none(),
            Place::WordEdge => is_word(before) != is_word(next),
            Place::NoWordEdge => is_word(before) == is_word(next),
        }
    }
}
