//! A connection's stream: counts what passes, and lets the answers to questions in one breath leave in one piece.
//!
//! hyper can do that too (`pipeline_flush`), but then sets no bound on what it keeps for a client that does not read, and keeps a whole
//! answer back while half a request lies behind it. Here an answer is held only until hyper reads again and finds
//! nothing: then all that it was asked is answered. Whatever streams, or waits for its next answer to be worked out, is not held.

use super::pulse::Pulse;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes of answers that are held: some forty to polls.
pub(super) const HELD_BYTES_MAX: usize = 16 * 1_024;

#[derive(Debug)]
pub(super) struct Stream<S = TcpStream> {
    socket: S,
    pulse: Arc<Pulse>,
    held: Vec<u8>,
    /// The last reading found something, so there may be more than one question in it. hyper does not read again of itself after
    /// one that found nothing.
    may_hold: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    pub(super) const fn new(socket: S, pulse: Arc<Pulse>) -> Self {
        Self { socket, pulse, held: Vec::new(), may_hold: false }
    }

    fn holds(&self) -> bool {
        self.may_hold && self.pulse.can_hold()
    }

    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.held.len() {
                // A socket that encrypts may itself hold some of it.
                break Pin::new(&mut self.socket).poll_flush(cx);
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.held[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    sent += written;
                    self.pulse.went(written);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if sent == self.held.len() {
            // Idle connections keep no buffer.
            self.held = Vec::new();
        } else {
            self.held.drain(..sent);
        }
        result
    }

    /// Takes over what fits, if it is to be held or has to leave behind what is.
    fn hold<'a>(&mut self, cx: &mut Context<'_>, buffers: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Poll<io::Result<usize>>> {
        let bytes = buffers.clone().map(<[u8]>::len).sum::<usize>();
        let holds = self.holds();
        if (!holds && self.held.is_empty()) || self.held.len() + bytes > HELD_BYTES_MAX {
            return None;
        }
        self.held.reserve(bytes);
        buffers.for_each(|buffer| self.held.extend_from_slice(buffer));
        if !holds && let Poll::Ready(Err(error)) = self.poll_release(cx) {
            return Some(Poll::Ready(Err(error)));
        }
        Some(Poll::Ready(Ok(bytes)))
    }

    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.pulse.went(*written);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.may_hold = read > 0;
        if read > 0 {
            self.pulse.came(read);
        } else if polled.is_ready() || !self.pulse.lets_pass() {
            // Nothing more was asked, or nothing more will be: what is held leaves, and this task is woken to send the rest.
            if let Poll::Ready(Err(error)) = self.poll_release(cx) {
                return Poll::Ready(Err(error));
            }
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(held) = self.hold(cx, [buffer].into_iter()) {
            return held;
        }
        ready!(self.poll_release(cx))?;
        let polled = Pin::new(&mut self.socket).poll_write(cx, buffer);
        self.count(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(held) = self.hold(cx, buffers.iter().map(|buffer| &**buffer)) {
            return held;
        }
        ready!(self.poll_release(cx))?;
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, buffers);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.holds() || self.pulse.lets_pass() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A socket that counts the pieces it is given.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
            let polled = Pin::new(&mut self.0).poll_write(cx, buffer);
            self.1.fetch_add(usize::from(polled.is_ready()), Ordering::Relaxed);
            polled
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Everything that is answered to `questions`, through a pipe of so many bytes, and in how many pieces it left.
    async fn answers(questions: &str, pipe: usize) -> (String, usize) {
        let (mut client, socket) = tokio::io::duplex(pipe);
        let (pieces, pulse) = (Arc::new(AtomicUsize::new(0)), Pulse::of_a_newcomer());
        let stream = Stream::new(Counted(socket, pieces.clone()), pulse.clone());
        let service = hyper::service::service_fn(move |_| {
            let call = pulse.begin();
            async move {
                call.let_others_pass().await;
                call.answered(Some(5));
                Ok::<_, Infallible>(hyper::Response::new("hello".to_owned()))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        tokio::spawn(connection);
        let (mut reads, mut writes) = tokio::io::split(&mut client);
        let mut text = String::new();
        let answered = async {
            while text.matches("hello").count() < questions.matches("GET").count() {
                let mut bytes = [0; 1_024];
                let read = reads.read(&mut bytes).await.expect("it is open");
                assert!(read > 0, "the server closed after {text}");
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        let (asked, ()) = tokio::join!(writes.write_all(questions.as_bytes()), answered);
        asked.expect("it is open");
        (text, pieces.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn answers_to_one_breath_leave_in_one_piece() {
        let questions = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8);
        let (text, pieces) = answers(&questions, 64 * 1_024).await;
        assert_eq!((text.matches("hello").count(), pieces), (8, 1));
        // A pipe narrower than one answer: in pieces, but all of it and in order.
        let (narrow, pieces) = answers(&questions, 10).await;
        assert_eq!(narrow.len(), text.len());
        assert_eq!(narrow.matches("hello").count(), 8);
        assert!(pieces > 8, "{pieces}");
    }
}
