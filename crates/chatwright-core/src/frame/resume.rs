use super::{Cursor, InvalidCursor};

/// What a client offers when it connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Nothing: it gets a snapshot.
    #[default]
    Nothing,
    /// `now`: it gets the state, the preview of what is being said, and the future.
    Now,
    /// The cursor of its last frame: it goes on there.
    From(Cursor),
    /// Something that is no cursor: it is reset, with the reason.
    Unusable(InvalidCursor),
}

impl Resume {
    /// Takes what a client offers, whatever it is: a `Last-Event-ID`, a `?cursor=`, or nothing. It never fails
    /// (stream.S19). An empty one counts as nothing, as browsers do.
    pub fn parse(offered: Option<&[u8]>) -> Self {
        match offered {
            None | Some(b"") => Self::Nothing,
            Some(b"now") => Self::Now,
            Some(text) => Cursor::parse(text).map_or_else(Self::Unusable, Self::From),
        }
    }
}

impl From<Option<Cursor>> for Resume {
    fn from(cursor: Option<Cursor>) -> Self {
        cursor.map_or(Self::Nothing, Self::From)
    }
}
