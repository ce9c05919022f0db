//! HTTP/2 without TLS.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::play::{Client, Played, play, waited};
use super::{BODY_BYTES_MAX, ReceivedRequest, State, Streaming, json};
use crate::reply::{Ending, Reply};

/// How many bytes of a stream wait at most to be written. Less than the window that every client grants, so that all of it can be
/// free.
const BUFFER_BYTES: usize = 16 * 1024;

/// Headers of a connection, which HTTP/2 does not allow.
const OF_CONNECTIONS: [&str; 3] = ["connection", "keep-alive", "transfer-encoding"];

/// What a stream asks of its connection when it is over. A stream that does not end by itself comes along: dropped before, it would
/// be reset.
enum Over {
    GoesOn,
    GoAway(Reason, Stream),
    Closes(Stream),
}

/// Serves a connection, its streams side by side.
pub(super) async fn serve(stream: BufReader<TcpStream>, state: &Arc<State>) -> io::Result<()> {
    let handshake = Builder::new().max_send_buffer_size(BUFFER_BYTES).handshake(stream);
    let mut connection = handshake.await.map_err(io::Error::other)?;
    let (mut streams, mut unended) = (JoinSet::new(), Vec::new());
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted.map_err(io::Error::other)?;
                let state = Arc::clone(state);
                // A stream that breaks is the client's business.
                streams.spawn(async move { answer(request, respond, &state).await.unwrap_or(Over::GoesOn) });
            }
            Some(over) = streams.join_next() => match over {
                Ok(Over::Closes(_open)) => return Ok(()),
                Ok(Over::GoAway(reason, stream)) => {
                    connection.abrupt_shutdown(reason);
                    unended.push(stream);
                }
                Ok(Over::GoesOn) | Err(_) => {}
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: &Arc<State>,
) -> Result<Over, h2::Error> {
    let (reply, mut wire) = state.reply(&receive(request).await?);
    let _streaming = Streaming::begin(state);
    let gone = async { drop(poll_fn(|cx| respond.poll_reset(cx)).await) };
    if !waited(reply.delay, gone).await {
        return Ok(Over::GoesOn);
    }
    if reply.ending == Ending::Refused {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(Over::GoesOn);
    }
    let mut client = Stream(respond.send_response(head(&reply), false)?);
    if let Some(body) = &reply.body {
        client.write(body.as_bytes()).await?;
        client.0.send_data(Bytes::new(), true)?;
        return Ok(Over::GoesOn);
    }
    let Ok(played) = play(&reply, &mut wire, &mut client).await else { return Ok(Over::GoesOn) };
    if played == Played::Gone {
        return Ok(Over::GoesOn);
    }
    client.written().await?;
    match (played, reply.ending) {
        (Played::Whole, Ending::Reset(code)) => client.0.send_reset(code.into()),
        (Played::Whole, Ending::GoAway(code)) => return Ok(Over::GoAway(code.into(), client)),
        (Played::Whole, Ending::Abort) | (Played::Cut, Ending::Regular) => {
            return Ok(Over::Closes(client));
        }
        _ => client.0.send_data(Bytes::new(), true)?,
    }
    Ok(Over::GoesOn)
}

async fn receive(request: Request<RecvStream>) -> Result<ReceivedRequest, h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - bytes.len())]);
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    Ok(ReceivedRequest { path, headers, body: json(&bytes) })
}

/// The status and the headers. What HTTP does not allow is left out.
fn head(reply: &Reply) -> Response<()> {
    let mut response = Response::new(());
    if let Ok(status) = reply.status.try_into() {
        *response.status_mut() = status;
    }
    for (name, value) in reply.all_headers() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !OF_CONNECTIONS.contains(&name.as_str())
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A response on its way.
struct Stream(SendStream<Bytes>);

impl Stream {
    /// Writes as the client's window allows.
    async fn write(&mut self, piece: &[u8]) -> Result<(), h2::Error> {
        let mut rest = Bytes::copy_from_slice(piece);
        while !rest.is_empty() {
            self.room(1, rest.len().min(BUFFER_BYTES)).await?;
            let some = rest.split_to(self.0.capacity().min(rest.len()));
            self.0.send_data(some, false)?;
        }
        Ok(())
    }

    /// Every piece so far is on the connection, and the head before them: a reset would throw away what still waits.
    async fn written(&mut self) -> Result<(), h2::Error> {
        self.room(BUFFER_BYTES, BUFFER_BYTES).await
    }

    /// Asks for room, and waits until there is at least so much.
    async fn room(&mut self, least: usize, asked: usize) -> Result<(), h2::Error> {
        self.0.reserve_capacity(asked);
        while self.0.capacity() < least {
            match poll_fn(|cx| self.0.poll_capacity(cx)).await {
                Some(room) => drop(room?),
                None => return Err(Reason::STREAM_CLOSED.into()),
            }
        }
        Ok(())
    }
}

impl Client for Stream {
    async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        self.write(piece).await.map_err(io::Error::other)
    }

    async fn gone(&mut self) {
        drop(poll_fn(|cx| self.0.poll_reset(cx)).await);
    }
}
