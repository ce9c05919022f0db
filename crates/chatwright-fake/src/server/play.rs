//! The steps of a reply, as bytes at a client.

use std::io;
use std::time::Duration;

use crate::reply::{LineEnds, Reply};
use crate::step::Step;
use crate::wire::Wire;

/// Where a streamed body goes.
pub(super) trait Client {
    /// Sends a piece so that it can be read by itself.
    async fn send(&mut self, piece: &[u8]) -> io::Result<()>;
    /// Resolves when nobody reads any more.
    async fn gone(&mut self);
}

/// How far a reply was played.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Played {
    /// All of it; the end of the body is still to come.
    Whole,
    /// To where it is cut.
    Cut,
    /// Until the client went away.
    Gone,
}

/// Plays the steps.
pub(super) async fn play(reply: &Reply, wire: &mut Wire, client: &mut impl Client) -> io::Result<Played> {
    let left = reply.cut_after.unwrap_or(usize::MAX);
    let mut body = Body { reply, left, held: Vec::new(), client };
    for step in &reply.steps {
        match step {
            Step::Pause(time) if !waited(*time, body.client.gone()).await => return Ok(Played::Gone),
            Step::Pause(_) => {}
            Step::Stall => {
                body.client.gone().await;
                return Ok(Played::Gone);
            }
            Step::Bytes(bytes) => body.send(bytes).await?,
            step => {
                for event in wire.events(step) {
                    body.event(event).await?;
                }
            }
        }
        if body.left == 0 {
            return Ok(Played::Cut);
        }
    }
    Ok(Played::Whole)
}

/// Waits, for ever if the time is the longest; gives whether the client still reads.
pub(super) async fn waited(time: Duration, gone: impl Future<Output = ()>) -> bool {
    let time = async {
        match time {
            Duration::MAX => std::future::pending().await,
            time => tokio::time::sleep(time).await,
        }
    };
    tokio::select! {
        biased;
        () = time => true,
        () = gone => false,
    }
}

struct Body<'a, C> {
    reply: &'a Reply,
    left: usize,
    /// Line ends that are sent only if something follows.
    held: Vec<u8>,
    client: &'a mut C,
}

impl<C: Client> Body<'_, C> {
    async fn event(&mut self, event: String) -> io::Result<()> {
        match self.reply.line_ends {
            LineEnds::Usual => self.send(event.as_bytes()).await,
            LineEnds::SplitCrLf => {
                // JSON may have a line end behind its first brace, and has no others but escaped ones.
                let event = event.replacen("data: {", "data: {\ndata: ", 1);
                let event = event.replace("\r\n", "\n").replace('\n', "\r\n");
                self.send(event.as_bytes()).await
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.reply.unterminated {
            return self.pieces(bytes).await;
        }
        let kept = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
        let (said, held) = bytes.split_at(kept);
        if !said.is_empty() {
            let before = std::mem::take(&mut self.held);
            self.pieces(&before).await?;
        }
        self.held.extend_from_slice(held);
        self.pieces(said).await
    }

    async fn pieces(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        let split = self.reply.line_ends == LineEnds::SplitCrLf;
        let size = if self.reply.piece_bytes == 0 { bytes.len().max(1) } else { self.reply.piece_bytes };
        for line in bytes.split_inclusive(|byte| split && *byte == b'\r') {
            for piece in line.chunks(size) {
                self.client.send(piece).await?;
                // Let the client read it by itself.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}
