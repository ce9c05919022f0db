//! Messages that are larger than one record.

use crate::MessageId;
use crate::content::Part;
use crate::record::MessagePart;

/// Takes what came before the record that closes a message, and gives its whole content.
pub(super) fn whole(parts: &mut Vec<MessagePart>, id: MessageId, last: Vec<Part>) -> Vec<Part> {
    let (mut content, mut continues) = (Vec::new(), false);
    for part in std::mem::take(parts).into_iter().filter(|part| part.message == id) {
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
