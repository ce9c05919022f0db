//! HTTP/1.1, by hand: what is wrong on purpose no library would send.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::play::{Client, Played, play, waited};
use super::{BODY_BYTES_MAX, ReceivedRequest, State, Streaming, json};
use crate::reply::{Ending, Reply};
use crate::wire::Wire;

/// Serves a connection, one request after the other.
pub(super) async fn serve(stream: BufReader<TcpStream>, state: &Arc<State>) -> io::Result<()> {
    let mut connection = Connection { stream, chunked: true };
    while let Some(request) = receive(&mut connection.stream).await? {
        let (reply, wire) = state.reply(&request);
        let streaming = Streaming::begin(state);
        let goes_on = connection.answer(&reply, wire).await?;
        drop(streaming);
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

async fn receive(read: &mut BufReader<TcpStream>) -> io::Result<Option<ReceivedRequest>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        read.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0).min(BODY_BYTES_MAX)];
    read.read_exact(&mut body).await?;
    Ok(Some(ReceivedRequest { path, headers, body: json(&body) }))
}

struct Connection {
    stream: BufReader<TcpStream>,
    /// Whether the streamed body has an end of its own.
    chunked: bool,
}

impl Connection {
    /// Sends a reply; gives whether the connection may go on.
    async fn answer(&mut self, reply: &Reply, mut wire: Wire) -> io::Result<bool> {
        if reply.ending == Ending::Refused || !waited(reply.delay, self.gone()).await {
            return Ok(false);
        }
        let mut head = format!("HTTP/1.1 {} Fake\r\n", reply.status);
        for (name, value) in reply.all_headers() {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &reply.body {
            head += &format!("content-length: {}\r\n\r\n{body}", body.len());
            self.stream.write_all(head.as_bytes()).await?;
            return Ok(true);
        }
        self.chunked = reply.ending != Ending::Close;
        head += if self.chunked { "transfer-encoding: chunked\r\n\r\n" } else { "connection: close\r\n\r\n" };
        self.stream.write_all(head.as_bytes()).await?;
        match (play(reply, &mut wire, self).await?, reply.ending) {
            (Played::Whole, Ending::Regular | Ending::Reset(0)) => {
                self.stream.write_all(b"0\r\n\r\n").await?;
                return Ok(true);
            }
            (Played::Whole, Ending::Abort) => self.stream.get_ref().set_zero_linger()?,
            // A chunked body has no end then: the connection just closes.
            (Played::Whole | Played::Cut, _) => self.stream.shutdown().await?,
            (Played::Gone, _) => {}
        }
        Ok(false)
    }
}

impl Client for Connection {
    async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.chunked {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            self.stream.write_all(&chunk).await?;
        } else {
            self.stream.write_all(piece).await?;
        }
        self.stream.flush().await
    }

    /// The client has closed its side.
    async fn gone(&mut self) {
        if self.stream.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
            // A request ahead of its time; it waits in the buffer.
            std::future::pending::<()>().await;
        }
    }
}
