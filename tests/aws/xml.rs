//! As much of XML as the SDK writes: elements, attributes, text and entities.

use std::collections::BTreeMap;

/// An element with what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    /// The one element of a document.
    pub fn parse(document: &str) -> Result<Self, String> {
        let body = document.trim_start();
        let mut rest = match body.strip_prefix("<?") {
            Some(declared) => declared
                .split_once("?>")
                .ok_or("the declaration does not end")?
                .1
                .trim_start(),
            None => body,
        };
        let root = Self::read(&mut rest)?;
        if rest.trim().is_empty() {
            Ok(root)
        } else {
            Err(format!("there is more after </{}>", root.name))
        }
    }

    /// The child by this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    fn read(rest: &mut &str) -> Result<Self, String> {
        let (tag, after) = rest
            .strip_prefix('<')
            .and_then(|tag| tag.split_once('>'))
            .ok_or("no element begins")?;
        *rest = after;
        let (tag, is_empty) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let mut element = Self {
            name: name.to_owned(),
            attributes: read_attributes(attributes)?,
            ..Self::default()
        };
        if is_empty {
            return Ok(element);
        }
        loop {
            let (text, _) = rest
                .split_once('<')
                .ok_or_else(|| format!("<{name}> does not end"))?;
            element.text.push_str(&unescaped(text)?);
            *rest = &rest[text.len()..];
            match rest.strip_prefix("</") {
                Some(end) => {
                    let (ended, after) = end
                        .split_once('>')
                        .ok_or_else(|| format!("<{name}> does not end"))?;
                    *rest = after;
                    return if ended.trim_end() == name {
                        Ok(element)
                    } else {
                        Err(format!("</{ended}> ends <{name}>"))
                    };
                }
                None => element.children.push(Self::read(rest)?),
            }
        }
    }
}

fn read_attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let quote = after
            .chars()
            .next()
            .filter(|quote| ['"', '\''].contains(quote))
            .ok_or("an attribute has no quotes")?;
        let (value, after) = after[1..]
            .split_once(quote)
            .ok_or("an attribute does not end")?;
        attributes.insert(name.trim().to_owned(), unescaped(value)?);
        rest = after.trim_start();
    }
    Ok(attributes)
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, after) = part.split_once(';').ok_or("an entity does not end")?;
        let code = |digits: &str, radix| {
            u32::from_str_radix(digits, radix)
                .ok()
                .and_then(char::from_u32)
        };
        let character = match (entity, entity.strip_prefix("#x"), entity.strip_prefix('#')) {
            ("amp", ..) => Some('&'),
            ("lt", ..) => Some('<'),
            ("gt", ..) => Some('>'),
            ("quot", ..) => Some('"'),
            ("apos", ..) => Some('\''),
            (_, Some(digits), _) => code(digits, 16),
            (_, None, Some(digits)) => code(digits, 10),
            _ => None,
        };
        plain.push(character.ok_or_else(|| format!("&{entity}; is no entity"))?);
        plain.push_str(after);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_and_a_broken_one_is_not() {
        let document =
            Element::parse("<?xml version=\"1.0\"?><a b='1'>x&#x41;&lt;<c/> y</a>").unwrap();
        assert_eq!(
            (
                document.text.as_str(),
                document.attributes["b"].as_str(),
                document.child("c").is_some()
            ),
            ("xA< y", "1", true)
        );
        for broken in ["", "<a>", "<a></b>", "<a/><b/>", "<a>&nothing;</a>", "a"] {
            assert!(Element::parse(broken).is_err(), "{broken}");
        }
    }
}
