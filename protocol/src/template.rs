//! Texts with `{placeholders}`, for signature schemes: what is signed, what a signature and a header look like.

use std::fmt;

/// The longest template, in bytes.
pub const MAX_BYTES: usize = 1024;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// The event's id: the same in every attempt.
    Id,
    /// The attempt's id: new in every request.
    AttemptId,
    /// When the request was signed, in seconds since 1970.
    Timestamp,
    /// When the request was signed, in milliseconds since 1970.
    TimestampMs,
    Body,
    BodySha256Hex,
    BodySha256Base64,
    Type,
    /// The event type's first segment.
    TypeFirst,
    Tenant,
    /// The signatures under all secrets, joined by the scheme's separator.
    Signatures,
    /// The digest under one secret.
    Digest,
}

/// A text with placeholders: `{name}`, where `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Texts are neither empty nor next to each other.
    parts: Vec<Part>,
    uses: u16,
}

pub(crate) type Part = Piece<Placeholder>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<P> {
    Text(String),
    Placeholder(P),
}

/// Takes a text with placeholders apart.
pub(crate) fn pieces<P>(
    source: &str,
    named: impl Fn(&str) -> Option<P>,
) -> Result<Vec<Piece<P>>, InvalidTemplate> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = source;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let unmatched = || InvalidTemplate::UnmatchedBrace(source.to_owned());
        let (name, after) = match brace {
            "{" => rest.split_once('}').ok_or_else(unmatched)?,
            _ => return Err(unmatched()),
        };
        let placeholder = named(name).ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))?;
        if !text.is_empty() {
            parts.push(Piece::Text(std::mem::take(&mut text)));
        }
        parts.push(Piece::Placeholder(placeholder));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Piece::Text(text));
    }
    Ok(parts)
}

impl Template {
    /// # Errors
    /// When a placeholder is unknown, a brace is unmatched or the text is longer than [`MAX_BYTES`].
    pub fn try_new(source: &str) -> Result<Self, InvalidTemplate> {
        if source.len() > MAX_BYTES {
            return Err(InvalidTemplate::TooLong { bytes: source.len() });
        }
        let parts = pieces(source, Placeholder::named)?;
        let uses = parts.iter().fold(0, |uses, part| match part {
            Part::Placeholder(placeholder) => uses | placeholder.bit(),
            Part::Text(_) => uses,
        });
        Ok(Self { parts, uses })
    }

    #[must_use]
    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.uses & placeholder.bit() != 0
    }

    /// The placeholders in use, in the order of their declaration, each once.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        Placeholder::ALL.into_iter().map(|(_, placeholder)| placeholder).filter(|p| self.uses(*p))
    }

    /// Hands the template's text over piece by piece, so that a body is signed or copied where it lies. A placeholder
    /// without a value yields nothing.
    pub fn render(&self, values: &Values<'_>, mut sink: impl FnMut(&str)) {
        for part in &self.parts {
            match part {
                Part::Text(text) => sink(text),
                Part::Placeholder(placeholder) => sink(values.get(*placeholder).unwrap_or_default()),
            }
        }
    }

    /// The same in one piece.
    #[must_use]
    pub fn text(&self, values: &Values<'_>) -> String {
        let mut whole = String::new();
        self.render(values, |text| whole.push_str(text));
        whole
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The template's own text, without what stands for its placeholders.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Placeholder(_) => None,
        })
    }
}

/// What the placeholders of one message stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Values<'a>([Option<&'a str>; Placeholder::ALL.len()]);

impl<'a> Values<'a> {
    #[must_use]
    pub fn get(&self, placeholder: Placeholder) -> Option<&'a str> {
        self.0[placeholder as usize]
    }

    pub fn set(&mut self, placeholder: Placeholder, value: &'a str) {
        self.0[placeholder as usize] = Some(value);
    }
}

impl Placeholder {
    /// In the order of their declaration.
    const ALL: [(&'static str, Self); 12] = [
        ("id", Self::Id),
        ("attempt_id", Self::AttemptId),
        ("timestamp", Self::Timestamp),
        ("timestamp_ms", Self::TimestampMs),
        ("body", Self::Body),
        ("body_sha256_hex", Self::BodySha256Hex),
        ("body_sha256_base64", Self::BodySha256Base64),
        ("type", Self::Type),
        ("type_first", Self::TypeFirst),
        ("tenant", Self::Tenant),
        ("signatures", Self::Signatures),
        ("digest", Self::Digest),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, placeholder)| placeholder)
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// With its braces, as in a template.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", Self::ALL[*self as usize].0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidTemplate {
    Unknown(String),
    UnmatchedBrace(String),
    TooLong { bytes: usize },
}

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "unknown placeholder {name:?}: must be one of")?;
                for (index, (known, _)) in Placeholder::ALL.iter().enumerate() {
                    write!(f, "{} {known}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::UnmatchedBrace(source) => {
                write!(f, "unmatched brace in {source:?}: a brace itself is written {{{{ or }}}}")
            }
            Self::TooLong { bytes } => write!(f, "template of {bytes} bytes: must be at most {MAX_BYTES}"),
        }
    }
}

impl std::error::Error for InvalidTemplate {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn render(source: &str) -> Result<String, InvalidTemplate> {
        let mut values = Values::default();
        values.set(Placeholder::Id, "<id>");
        values.set(Placeholder::Body, "{id}");
        let mut out = String::new();
        Template::try_new(source)?.render(&values, |text| out.push_str(text));
        Ok(out)
    }

    #[test]
    fn rendering() {
        for (source, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            ("{id}", "<id>"),
            ("a{id}b{id}{body}c", "a<id>b<id>{id}c"),
            ("{{id}}", "{id}"),
            ("{{{id}}}", "{<id>}"),
            ("{{{{}}", "{{}"),
            ("tenant={tenant}.", "tenant=."),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn refusals() {
        let unknown = |name: &str| InvalidTemplate::Unknown(name.to_owned());
        let unmatched = |source: &str| InvalidTemplate::UnmatchedBrace(source.to_owned());
        for (source, expected) in [
            ("{}", unknown("")),
            ("{ID}", unknown("ID")),
            ("{ id}", unknown(" id")),
            ("{a{id}", unknown("a{id")),
            ("{id", unmatched("{id")),
            ("id}", unmatched("id}")),
            ("{{id}", unmatched("{{id}")),
            ("a{", unmatched("a{")),
        ] {
            assert_eq!(render(source), Err(expected), "{source}");
        }
        assert!(Template::try_new(&"x".repeat(MAX_BYTES)).is_ok());
        assert_eq!(
            Template::try_new(&"x".repeat(MAX_BYTES + 1)),
            Err(InvalidTemplate::TooLong { bytes: MAX_BYTES + 1 })
        );
        assert_eq!(
            unknown("x").to_string(),
            "unknown placeholder \"x\": must be one of id, attempt_id, timestamp, timestamp_ms, body, \
             body_sha256_hex, body_sha256_base64, type, type_first, tenant, signatures, digest"
        );
    }

    #[test]
    fn every_placeholder_is_known_by_its_name() {
        for (index, (name, placeholder)) in Placeholder::ALL.into_iter().enumerate() {
            assert_eq!(placeholder as usize, index);
            assert_eq!(placeholder.to_string(), format!("{{{name}}}"));
            let template = Template::try_new(&placeholder.to_string()).unwrap();
            assert_eq!(template.placeholders().collect::<Vec<_>>(), [placeholder]);
        }
    }

    proptest! {
        #[test]
        fn escaped_text_is_rendered_as_it_was(text in "(\\PC|[{}]){0,40}") {
            prop_assert_eq!(render(&text.replace('{', "{{").replace('}', "}}")), Ok(text));
        }

        #[test]
        fn parsing_never_panics(source in "(\\PC|[{}]|\\{id\\}){0,40}") {
            let _ = render(&source);
        }
    }
}
