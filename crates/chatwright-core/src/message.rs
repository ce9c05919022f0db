//! Messages that are larger than one record.

use crate::content::Part;
use crate::record::MessagePart;
use crate::{MessageId, limits};

/// About how many bytes of content one record takes, so that the envelope and the escapes still fit.
pub const CHUNK_BYTES: usize = limits::BODY_BYTES_MAX - 64 * 1024;

/// Splits content into runs that fit a record each, with whether a run goes on in the last part of the one before. Text and
/// reasoning are cut between characters; other parts are never cut.
pub fn split(content: Vec<Part>) -> Vec<(bool, Vec<Part>)> {
    let mut runs: Vec<(bool, Vec<Part>)> = vec![(false, Vec::new())];
    let mut room = CHUNK_BYTES;
    for part in content {
        let mut rest = Some((false, part));
        while let Some((continues, part)) = rest.take() {
            let size = encoded(&part);
            let run = runs.last_mut().expect("there is always a run");
            if size <= room {
                room -= size;
                run.1.push(part);
            } else if run.1.is_empty() {
                let (first, more) = cut(part, room);
                run.1.push(first);
                rest = more.map(|more| (true, more));
                room = 0;
            } else {
                runs.push((continues, Vec::new()));
                room = CHUNK_BYTES;
                rest = Some((continues, part));
            }
        }
    }
    runs
}

/// Puts a message together: the parts that came before the record that closes it, of which others are left out, and the
/// content of that record.
pub fn whole(parts: Vec<MessagePart>, id: MessageId, last: Vec<Part>) -> Vec<Part> {
    let (mut content, mut continues) = (Vec::new(), false);
    for part in parts.into_iter().filter(|part| part.message == id) {
        join(&mut content, continues, part.content);
        // It is about the record that follows.
        continues = part.continues;
    }
    join(&mut content, continues, last);
    content
}

fn join(content: &mut Vec<Part>, continues: bool, run: Vec<Part>) {
    let mut run = run.into_iter();
    if continues && let Some(first) = run.next() {
        match (content.last_mut(), first) {
            (Some(Part::Text { text, metadata }), Part::Text { text: more, metadata: last })
            | (Some(Part::Reasoning { text, metadata }), Part::Reasoning { text: more, metadata: last }) => {
                text.push_str(&more);
                metadata.extend(last);
            }
            (_, first) => content.push(first),
        }
    }
    content.extend(run);
}

fn encoded(part: &Part) -> usize {
    serde_json::to_string(part).map_or(usize::MAX, |text| text.len() + 1)
}

/// Cuts text so that its first piece fits; the metadata goes with the last piece.
fn cut(part: Part, room: usize) -> (Part, Option<Part>) {
    let (text, metadata, reasoning) = match part {
        Part::Text { text, metadata } => (text, metadata, false),
        Part::Reasoning { text, metadata } => (text, metadata, true),
        other => return (other, None),
    };
    let make = |text: &str, metadata| match reasoning {
        true => Part::Reasoning { text: text.to_owned(), metadata },
        false => Part::Text { text: text.to_owned(), metadata },
    };
    let mut bytes = 64;
    let fits = |(at, character): (usize, char)| {
        bytes += escaped(character);
        (bytes > room).then_some(at)
    };
    match text.char_indices().find_map(fits) {
        Some(at) => (make(&text[..at], Default::default()), Some(make(&text[at..], metadata))),
        None => (make(&text, metadata), None),
    }
}

/// How many bytes of a record a text takes.
pub(crate) fn stored(text: &str) -> usize {
    text.chars().map(escaped).sum()
}

fn escaped(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        character if character < ' ' => 6,
        character => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::content::Metadata;

    fn put_together(mut runs: Vec<(bool, Vec<Part>)>) -> Vec<Part> {
        let message = MessageId::from_uuid(Uuid::nil());
        let (last_continues, last) = runs.pop().expect("there is always a run");
        let continues: Vec<bool> = runs.iter().skip(1).map(|run| run.0).chain([last_continues]).collect();
        let parts = runs.into_iter().zip(continues);
        let part = |((_, content), continues)| MessagePart { message, content, continues };
        whole(parts.map(part).collect(), message, last)
    }

    #[test]
    fn a_long_text_with_escapes_is_cut_between_characters_and_joined_again() {
        let signed = Metadata::from([("p".into(), serde_json::json!({"signature": "s"}))]);
        let content = vec![
            Part::Reasoning { text: "é\u{1}\"".repeat(700_000), metadata: signed },
            Part::text("x".repeat(10)),
            Part::text("😀".repeat(300_000)),
        ];
        let runs = split(content.clone());
        assert!(runs.len() > 4, "{} runs", runs.len());
        for (_, run) in &runs {
            let bytes = serde_json::to_string(run).expect("parts encode").len();
            assert!(bytes <= CHUNK_BYTES + 1024, "{bytes} bytes");
        }
        assert_eq!(put_together(runs), content);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn small_content_is_one_run(texts in proptest::collection::vec("[a-z\"\u{0}]{0,9}", 0..9)) {
            let content: Vec<Part> = texts.into_iter().map(Part::text).collect();
            prop_assert_eq!(split(content.clone()), vec![(false, content)]);
        }
    }
}
