//! Renders the chat templates of rerankers that are decoders, for a query and a document.
//!
//! Templates are written in Jinja. The subset that rerankers use is implemented: `set`, `if`,
//! `for`, and expressions over messages, which have a role and a content. The contents are unknown
//! when the template is rendered, so the result has places for them. A template that examines a
//! content, or uses anything else of Jinja, is an error that names it.

use std::collections::BTreeMap;

use crate::text::question::{Part, Piece};

/// The most bytes of a template, and of a rendered text.
const MOST_BYTES: usize = 1 << 16;
/// The most tags that are executed. A tag in a loop counts each time.
const MOST_TAGS: usize = 10_000;
/// The deepest nesting of tags and brackets.
const DEEPEST: usize = 32;

type Result<T> = std::result::Result<T, String>;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Jinja's undefined value.
    Undefined,
    /// Jinja's none.
    None,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text with places.
    Text(Piece),
    /// A message whose content is a place.
    Message(Part),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// A text without places.
    pub fn text(text: &str) -> Self {
        Self::Text(vec![Part::Text(text.to_owned())])
    }

    /// The text, if it has no place.
    fn plain(&self) -> Option<String> {
        let Self::Text(parts) = self else { return None };
        let texts = parts.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    fn is_true(&self) -> Result<bool> {
        match self {
            Self::Undefined | Self::None => Ok(false),
            Self::Flag(flag) => Ok(*flag),
            Self::Number(number) => Ok(*number != 0),
            Self::Message(_) => Ok(true),
            Self::List(list) => Ok(!list.is_empty()),
            Self::Text(_) => self
                .plain()
                .map(|text| !text.is_empty())
                .ok_or_else(|| "a condition on a text of the caller".to_owned()),
        }
    }

    fn equals(&self, other: &Self) -> Result<bool> {
        match (self, other) {
            (Self::Text(_), Self::Text(_)) => match (self.plain(), other.plain()) {
                (Some(one), Some(other)) => Ok(one == other),
                _ => Err("a comparison with a text of the caller".to_owned()),
            },
            _ => Ok(self == other),
        }
    }

    /// An attribute or an item.
    fn member(&self, name: &Self) -> Result<Self> {
        match (self, name) {
            (Self::Message(part), name) => Ok(match name.plain().as_deref() {
                Some("role") => Self::text(match part {
                    Part::Query => "query",
                    Part::Document => "document",
                    Part::Prompt | Part::Text(_) => "system",
                }),
                Some("content") => Self::Text(vec![part.clone()]),
                _ => Self::Undefined,
            }),
            (Self::List(list), Self::Number(at)) => {
                let distance = usize::try_from(at.unsigned_abs()).ok();
                let at = match distance {
                    Some(distance) if *at < 0 => list.len().checked_sub(distance),
                    distance => distance,
                };
                let item = at.and_then(|at| list.get(at));
                Ok(item.cloned().unwrap_or(Self::Undefined))
            }
            _ => Err("a member of what has none".to_owned()),
        }
    }
}

/// Adds text, as one part with what is before it.
fn append(to: &mut Piece, more: Piece) -> Result<()> {
    for part in more {
        match (to.last_mut(), part) {
            (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
            (_, part) => to.push(part),
        }
    }
    let bytes = to.iter().map(|part| match part {
        Part::Text(text) => text.len(),
        _ => 1,
    });
    if bytes.sum::<usize>() > MOST_BYTES {
        return Err(format!("a text of more than {MOST_BYTES} bytes"));
    }
    Ok(())
}

/// What a template makes of messages whose contents are `places`, with values by name. An error is
/// what the template has that is not read here.
pub fn render(template: &str, values: &BTreeMap<String, Value>, places: &[Part]) -> Result<Piece> {
    let items = items(template)?;
    let mut scope = values.clone();
    let messages = places.iter().cloned().map(Value::Message).collect();
    scope.insert("messages".to_owned(), Value::List(messages));
    let mut machine = Machine {
        items: &items,
        at: 0,
        scope,
        out: Vec::new(),
        tags: 0,
    };
    match machine.run(true, 0)? {
        "" => Ok(machine.out),
        word => Err(format!("{word} without a beginning")),
    }
}

/// A part of a template.
enum Item<'a> {
    Text(String),
    /// `{{ … }}`
    Output(&'a str),
    /// `{% … %}`
    Tag(&'a str),
}

/// The parts of a template, with white space removed as transformers has it (`trim_blocks`,
/// `lstrip_blocks`, and `-` and `+` in tags).
fn items(template: &str) -> Result<Vec<Item<'_>>> {
    if template.len() > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes"));
    }
    let mut rest = template.strip_suffix('\n').unwrap_or(template);
    let mut items = Vec::new();
    let mut begins_line = true;
    while let Some(at) = rest.match_indices('{').map(|(at, _)| at).find(|at| {
        let kind = rest.as_bytes().get(at + 1);
        matches!(kind, Some(b'{' | b'%' | b'#'))
    }) {
        let kind = rest.as_bytes()[at + 1];
        let (text, tag) = (&rest[..at], &rest[at + 2..]);
        let end = match kind {
            b'{' => end(tag, "}}"),
            b'%' => end(tag, "%}"),
            _ => tag.find("#}"),
        };
        let end = end.ok_or("a tag without an end")?;
        let (mut inside, mut after) = (&tag[..end], &tag[end + 2..]);
        let text = if let Some(more) = inside.strip_prefix('-') {
            inside = more;
            text.trim_end()
        } else if let Some(more) = inside.strip_prefix('+') {
            inside = more;
            text
        } else if kind == b'{' {
            text
        } else {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let is_blank = text[line..]
                .bytes()
                .all(|byte| matches!(byte, b' ' | b'\t'));
            if is_blank && (line > 0 || begins_line) {
                &text[..line]
            } else {
                text
            }
        };
        items.push(Item::Text(text.to_owned()));
        let before = after;
        if let Some(less) = inside.strip_suffix('-') {
            inside = less;
            after = after.trim_start();
        } else if let Some(less) = inside.strip_suffix('+') {
            inside = less;
        } else if kind != b'{' {
            after = after.strip_prefix('\n').unwrap_or(after);
        }
        begins_line = before[..before.len() - after.len()].ends_with('\n');
        match kind {
            b'{' => items.push(Item::Output(inside)),
            b'%' => items.push(Item::Tag(inside.trim())),
            _ => {}
        }
        rest = after;
    }
    items.push(Item::Text(rest.to_owned()));
    Ok(items)
}

/// Where a tag ends, outside of strings.
fn end(tag: &str, mark: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in tag.bytes().enumerate() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(own) if byte == own => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if tag.as_bytes()[at..].starts_with(mark.as_bytes()) => return Some(at),
            _ => {}
        }
    }
    None
}

struct Machine<'a> {
    items: &'a [Item<'a>],
    at: usize,
    scope: BTreeMap<String, Value>,
    out: Piece,
    tags: usize,
}

impl<'a> Machine<'a> {
    /// Goes on to the tag that ends or divides the block, and returns its word; empty at the end of
    /// the template. Nothing is obeyed unless `active`.
    fn run(&mut self, active: bool, depth: usize) -> Result<&'a str> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} tags inside each other"));
        }
        while let Some(item) = self.items.get(self.at) {
            self.tags += 1;
            if self.tags > MOST_TAGS {
                return Err(format!("more than {MOST_TAGS} steps"));
            }
            match item {
                Item::Text(text) if active => {
                    append(&mut self.out, vec![Part::Text(text.clone())])?;
                }
                Item::Output(inside) if active => {
                    let more = match self.value(inside)? {
                        Value::Undefined => Vec::new(),
                        Value::Text(parts) => parts,
                        Value::Number(number) => vec![Part::Text(number.to_string())],
                        _ => return Err(format!("{{{{{inside}}}}}, which is no text")),
                    };
                    append(&mut self.out, more)?;
                }
                Item::Text(_) | Item::Output(_) => {}
                Item::Tag(inside) => {
                    let (word, rest) = inside
                        .split_once(char::is_whitespace)
                        .unwrap_or((inside, ""));
                    match word {
                        "endif" | "elif" | "else" | "endfor" => return Ok(word),
                        "if" => {
                            self.condition(active, rest, depth)?;
                            continue;
                        }
                        "for" => {
                            self.repeat(active, rest, depth)?;
                            continue;
                        }
                        "set" if active => self.set(rest)?,
                        _ if active => return Err(format!("the tag {word}")),
                        _ => {}
                    }
                }
            }
            self.at += 1;
        }
        Ok("")
    }

    fn value(&self, inside: &str) -> Result<Value> {
        let mut parser = Parser {
            words: words(inside)?,
            at: 0,
            scope: &self.scope,
            depth: 0,
        };
        let value = parser.expression()?;
        match parser.next() {
            None => Ok(value),
            Some(word) => Err(format!("{word:?} in {:?}", inside.trim())),
        }
    }

    fn set(&mut self, rest: &str) -> Result<()> {
        let Some((name, inside)) = rest.split_once('=') else {
            return Err("a set without a value".to_owned());
        };
        let value = self.value(inside)?;
        self.scope.insert(name.trim().to_owned(), value);
        Ok(())
    }

    fn condition(&mut self, active: bool, rest: &str, depth: usize) -> Result<()> {
        let mut holds = active && self.value(rest)?.is_true()?;
        let mut held = holds;
        loop {
            self.at += 1;
            match self.run(holds, depth + 1)? {
                "endif" => break,
                "else" => holds = active && !held,
                "elif" => {
                    let Some(Item::Tag(inside)) = self.items.get(self.at) else {
                        return Err("elif".to_owned());
                    };
                    let rest = inside.trim_start_matches("elif");
                    holds = active && !held && self.value(rest)?.is_true()?;
                }
                _ => return Err("an if without an end".to_owned()),
            }
            held |= holds;
        }
        self.at += 1;
        Ok(())
    }

    fn repeat(&mut self, active: bool, rest: &str, depth: usize) -> Result<()> {
        let (name, inside) = rest.split_once(" in ").ok_or("a for without a list")?;
        let list = if active {
            match self.value(inside)? {
                Value::List(list) => list,
                _ => return Err(format!("a loop over {:?}", inside.trim())),
            }
        } else {
            Vec::new()
        };
        let (begin, scope) = (self.at, self.scope.clone());
        // At least once, to find the end.
        let rounds: Vec<Option<Value>> = if list.is_empty() {
            vec![None]
        } else {
            list.into_iter().map(Some).collect()
        };
        for item in rounds {
            self.at = begin + 1;
            self.scope.clone_from(&scope);
            let is_round = item.is_some();
            if let Some(item) = item {
                self.scope.insert(name.trim().to_owned(), item);
            }
            if self.run(is_round, depth + 1)? != "endfor" {
                return Err("a for without an end".to_owned());
            }
        }
        self.scope = scope;
        self.at += 1;
        Ok(())
    }
}

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Text(String),
    Number(i64),
    Sign(String),
}

fn words(inside: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut chars = inside.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            _ if char.is_whitespace() => {}
            '"' | '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some(other) if other == char => break,
                        Some('\\') => text.push(match chars.next() {
                            Some('n') => '\n',
                            Some('t') => '\t',
                            Some('r') => '\r',
                            Some(same @ ('\\' | '\'' | '"')) => same,
                            _ => return Err("an escape in a string".to_owned()),
                        }),
                        Some(other) => text.push(other),
                        None => return Err("a string without an end".to_owned()),
                    }
                }
                words.push(Word::Text(text));
            }
            _ if char.is_alphabetic() || char == '_' => {
                let mut name = char.to_string();
                while let Some(more) = chars.next_if(|more| more.is_alphanumeric() || *more == '_')
                {
                    name.push(more);
                }
                words.push(Word::Name(name));
            }
            '0'..='9' => {
                let mut digits = char.to_string();
                while let Some(more) = chars.next_if(char::is_ascii_digit) {
                    digits.push(more);
                }
                let number = digits.parse().map_err(|_| "a number".to_owned())?;
                words.push(Word::Number(number));
            }
            '=' | '!' if chars.next_if_eq(&'=').is_some() => {
                words.push(Word::Sign(format!("{char}=")));
            }
            _ => words.push(Word::Sign(char.to_string())),
        }
    }
    Ok(words)
}

struct Parser<'a> {
    words: Vec<Word>,
    at: usize,
    scope: &'a BTreeMap<String, Value>,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// Takes a name or a sign, if it is the next word.
    fn take(&mut self, wanted: &str) -> bool {
        let is_next = matches!(self.words.get(self.at), Some(Word::Name(own) | Word::Sign(own)) if own == wanted);
        self.at += usize::from(is_next);
        is_next
    }

    fn must(&mut self, wanted: &str) -> Result<()> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(format!("an expression without {wanted:?}"))
        }
    }

    fn expression(&mut self) -> Result<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("more than {DEEPEST} brackets inside each other"));
        }
        let value = self.any()?;
        let value = if self.take("if") {
            let holds = self.any()?.is_true()?;
            let other = if self.take("else") {
                self.expression()?
            } else {
                Value::Undefined
            };
            if holds { value } else { other }
        } else {
            value
        };
        self.depth -= 1;
        Ok(value)
    }

    fn any(&mut self) -> Result<Value> {
        let mut value = self.all()?;
        while self.take("or") {
            let other = self.all()?;
            value = if value.is_true()? { value } else { other };
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<Value> {
        let mut value = self.not()?;
        while self.take("and") {
            let other = self.not()?;
            value = if value.is_true()? { other } else { value };
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<Value> {
        let mut negated = None;
        while self.take("not") {
            negated = Some(!negated.unwrap_or(false));
        }
        let mut value = self.sum()?;
        loop {
            let is_equal = self.take("==");
            if !is_equal && !self.take("!=") {
                break;
            }
            value = Value::Flag(value.equals(&self.sum()?)? == is_equal);
        }
        Ok(match negated {
            Some(negated) => Value::Flag(value.is_true()? != negated),
            None => value,
        })
    }

    fn sum(&mut self) -> Result<Value> {
        let mut value = self.postfix()?;
        while self.take("+") || self.take("~") {
            value = match (value, self.postfix()?) {
                (Value::Text(mut one), Value::Text(other)) => {
                    append(&mut one, other)?;
                    Value::Text(one)
                }
                _ => return Err("a sum of what are no texts".to_owned()),
            };
        }
        Ok(value)
    }

    fn postfix(&mut self) -> Result<Value> {
        let mut value = match self.next() {
            Some(Word::Text(text)) => Value::text(&text),
            Some(Word::Number(number)) => Value::Number(number),
            Some(Word::Sign(sign)) if sign == "-" => match self.next() {
                Some(Word::Number(number)) => Value::Number(-number),
                _ => return Err("a minus".to_owned()),
            },
            Some(Word::Sign(sign)) if sign == "(" => {
                let value = self.expression()?;
                self.must(")")?;
                value
            }
            Some(Word::Name(name)) => match name.as_str() {
                "true" | "True" => Value::Flag(true),
                "false" | "False" => Value::Flag(false),
                // transformers passes these two, as nothing.
                "none" | "None" | "tools" | "documents" => Value::None,
                _ => self.scope.get(&name).cloned().unwrap_or(Value::Undefined),
            },
            Some(word) => return Err(format!("{word:?}")),
            None => return Err("an expression without a value".to_owned()),
        };
        loop {
            if self.take(".") {
                let Some(Word::Name(name)) = self.next() else {
                    return Err("a dot without a name".to_owned());
                };
                value = value.member(&Value::text(&name))?;
            } else if self.take("[") {
                let name = self.expression()?;
                self.must("]")?;
                value = value.member(&name)?;
            } else if self.take("|") {
                value = self.filter(&value)?;
            } else if self.take("is") {
                let negated = self.take("not");
                let holds = match self.next() {
                    Some(Word::Name(name)) if name == "defined" => value != Value::Undefined,
                    Some(Word::Name(name)) if name == "none" => value == Value::None,
                    Some(Word::Name(name)) if name == "string" => matches!(value, Value::Text(_)),
                    other => return Err(format!("the test {other:?}")),
                };
                value = Value::Flag(holds != negated);
            } else {
                return Ok(value);
            }
        }
    }

    /// The arguments of a filter, by name or in order.
    fn arguments(&mut self) -> Result<Vec<(String, Value)>> {
        let mut arguments = Vec::new();
        if !self.take("(") {
            return Ok(arguments);
        }
        while !self.take(")") {
            let name = match (self.words.get(self.at), self.words.get(self.at + 1)) {
                (Some(Word::Name(name)), Some(Word::Sign(sign))) if sign == "=" => name.clone(),
                _ => String::new(),
            };
            if !name.is_empty() {
                self.at += 2;
            }
            arguments.push((name, self.expression()?));
            if !self.take(",") {
                self.must(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn filter(&mut self, value: &Value) -> Result<Value> {
        let Some(Word::Name(name)) = self.next() else {
            return Err("a filter without a name".to_owned());
        };
        let arguments = self.arguments()?;
        let arguments: Vec<(&str, &Value)> = arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let is_test = |test: &Value| {
            let known = ["eq", "equalto", "=="];
            test.plain()
                .is_some_and(|test| known.contains(&test.as_str()))
        };
        match (name.as_str(), value, &arguments[..]) {
            ("selectattr", Value::List(list), [("", of), ("", test), ("", wanted)])
                if is_test(test) =>
            {
                let mut kept = Vec::new();
                for item in list {
                    if item.member(of)?.equals(wanted)? {
                        kept.push(item.clone());
                    }
                }
                Ok(Value::List(kept))
            }
            ("map", Value::List(list), [("attribute", of)]) => {
                let members = list.iter().map(|item| item.member(of));
                members.collect::<Result<_>>().map(Value::List)
            }
            ("first", Value::List(list), []) => {
                Ok(list.first().cloned().unwrap_or(Value::Undefined))
            }
            ("last", Value::List(list), []) => Ok(list.last().cloned().unwrap_or(Value::Undefined)),
            ("default" | "d", Value::Undefined, [("" | "default_value", usual), ..]) => {
                Ok((*usual).clone())
            }
            ("list", Value::List(_), [])
            | ("string", Value::Text(_), [])
            | ("default" | "d", _, [_]) => Ok(value.clone()),
            ("trim", Value::Text(_), []) => match value.plain() {
                Some(text) => Ok(Value::text(text.trim())),
                None => Err("the filter trim of a text of the caller".to_owned()),
            },
            _ => Err(format!("the filter {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, places: &[Part]) -> Result<String> {
        let values = BTreeMap::from([
            ("add_generation_prompt".to_owned(), Value::Flag(true)),
            ("bos_token".to_owned(), Value::text("<s>")),
        ]);
        let parts = render(template, &values, places)?;
        let texts = parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Prompt => "⟨P⟩",
            Part::Query => "⟨Q⟩",
            Part::Document => "⟨D⟩",
        });
        Ok(texts.collect())
    }

    const PAIR: [Part; 2] = [Part::Query, Part::Document];
    const ALL: [Part; 3] = [Part::Prompt, Part::Query, Part::Document];

    /// What jinja2 3.1 gives with `trim_blocks` and `lstrip_blocks`.
    #[test]
    fn templates_are_rendered_as_by_jinja() {
        let set = "{%- set task = messages | selectattr(\"role\", \"eq\", \"system\") | map(attribute=\"content\") | first | default(\"find\") -%}\n{%- set query = messages | selectattr(\"role\", \"eq\", \"query\") | map(attribute=\"content\") | first -%}\na {{ task }}\n<Query>: {{ query }}\n<Document>: {{ (messages | selectattr(\"role\", \"equalto\", \"document\") | first).content }}\n\n\n";
        assert_eq!(
            rendered(set, &PAIR).unwrap(),
            "a find\n<Query>: ⟨Q⟩\n<Document>: ⟨D⟩\n\n"
        );
        assert_eq!(
            rendered(set, &ALL).unwrap(),
            "a ⟨P⟩\n<Query>: ⟨Q⟩\n<Document>: ⟨D⟩\n\n"
        );
        let each = "{{ bos_token }}\n{% for message in messages %}\n  {%- if message.role == 'query' or message['role'] == \"system\" %}\n{{ '<|im_start|>system\\n' + message.content + '<|im_end|>' }}\n  {% elif message['role'] == 'document' %}\n<user>\n{{ message['content'] }}</user>\n  {%- else %}{{ raise_exception('no') }}{% endif %}\n{% endfor %}\n{# a note #}\n{% if add_generation_prompt %}\n<assistant>\n{% endif %}\nend {{ messages[-1].role }} {{ 'a' if tools else 'b' }}";
        assert_eq!(
            rendered(each, &PAIR).unwrap(),
            "<s>\n<|im_start|>system\n⟨Q⟩<|im_end|>\n<user>\n⟨D⟩</user><assistant>\nend document b"
        );
        let odd = "  {% if not nothing is defined and messages | last is defined %}\n x{%+ if true %} y{% endif +%}\n z {{- ' w ' -}} \n v{% endif %}";
        assert_eq!(rendered(odd, &PAIR).unwrap(), " x y\n z w v");
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (template, part) in [
            ("{% macro a() %}{% endmacro %}", "the tag macro"),
            ("{{ messages | tojson }}", "the filter tojson"),
            ("{{ messages[0].content | trim }}", "trim"),
            ("{{ messages[0].content.strip() }}", "member"),
            ("{% if messages[0].content %}a{% endif %}", "condition"),
            ("{{ messages[0].content == 'a' }}", "comparison"),
            ("{{ messages[1:] }}", "\"]\""),
            ("{{ messages }}", "no text"),
            ("{% for a in messages %}", "without an end"),
            ("{% if true %}", "without an end"),
            ("{% endif %}", "without a beginning"),
            ("{{ 'a' ", "without an end"),
            ("{{ strftime_now('a') }}", "\"(\""),
        ] {
            let error = rendered(template, &PAIR).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn hostile_templates_end() {
        let deep = "{% for a in messages %}".repeat(40) + &"{% endfor %}".repeat(40);
        assert!(
            rendered(&deep, &PAIR)
                .unwrap_err()
                .contains("inside each other")
        );
        let wide = "{% for a in messages %}".repeat(20) + &"{% endfor %}".repeat(20);
        assert!(rendered(&wide, &PAIR).unwrap_err().contains("steps"));
        let double = "{% set a = 'ab' %}".to_owned() + &"{% set a = a + a %}".repeat(60);
        assert!(rendered(&double, &PAIR).unwrap_err().contains("bytes"));
        let brackets = "{{ ".to_owned() + &"(".repeat(10_000);
        assert!(rendered(&(brackets + " }}"), &PAIR).is_err());
        let not = "{{ ".to_owned() + &"not ".repeat(10_000) + "true }}";
        assert!(rendered(&not, &PAIR).unwrap_err().contains("no text"));
        assert!(rendered(&"a".repeat(1 << 17), &PAIR).is_err());
    }
}
