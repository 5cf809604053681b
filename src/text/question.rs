//! The text that a decoder reads when it is used as a reranker: a question about a query and a
//! document, as parts with places for both.

/// A part of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The same in all questions.
    Text(String),
    /// The caller's prompt.
    Prompt,
    /// The query.
    Query,
    /// The document.
    Document,
}

/// Parts that are tokenised as one text.
pub type Piece = Vec<Part>;

/// A question, and how it is truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Without a prompt.
    pub plain: Vec<Piece>,
    /// With a prompt. None if it has no place for one.
    pub prompted: Option<Vec<Piece>>,
    /// How a question that is too long is truncated. True: the whole question is truncated, and
    /// then its last tokens are replaced by the template's last tokens, which do not depend on the
    /// texts. sentence-transformers does this with chat templates. False: only the pieces with
    /// texts are truncated.
    pub restored: bool,
}

impl Question {
    /// A question whose pieces mark places by `{query}`, `{document}` and `{prompt}`. `prompted`
    /// takes the place of the piece with the query.
    pub fn marked(question: &[&str], prompted: &str) -> Self {
        let pieces = |prompt: bool| -> Vec<Piece> {
            let own = question.iter().map(|piece| {
                let is_query = piece.contains("{query}");
                parts(if prompt && is_query { prompted } else { piece })
            });
            own.collect()
        };
        Self {
            plain: pieces(false),
            prompted: Some(pieces(true)),
            restored: false,
        }
    }
}

/// The parts of a text with marks.
fn parts(mut text: &str) -> Piece {
    const MARKS: [(&str, Part); 3] = [
        ("{query}", Part::Query),
        ("{document}", Part::Document),
        ("{prompt}", Part::Prompt),
    ];
    let mut parts = Vec::new();
    loop {
        let places = MARKS
            .iter()
            .filter_map(|mark| Some((text.find(mark.0)?, mark)));
        let Some((at, (mark, part))) = places.min_by_key(|(at, _)| *at) else {
            break;
        };
        parts.push(Part::Text(text[..at].to_owned()));
        parts.push(part.clone());
        text = &text[at + mark.len()..];
    }
    parts.push(Part::Text(text.to_owned()));
    parts
}

/// The text of a piece.
pub fn fill(piece: &[Part], prompt: &str, [query, document]: [&str; 2]) -> String {
    let texts = piece.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Prompt => prompt,
        Part::Query => query,
        Part::Document => document,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_places() {
        let question = Question::marked(&["a {query}{document}", "b"], "{prompt}: {query}");
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(
            question.plain,
            [
                vec![text("a "), Part::Query, text(""), Part::Document, text("")],
                vec![text("b")],
            ]
        );
        let prompted = question.prompted.unwrap();
        assert_eq!(fill(&prompted[0], "c", ["d", "e"]), "c: d");
        assert_eq!(fill(&question.plain[0], "c", ["d", "e"]), "a de");
    }
}
