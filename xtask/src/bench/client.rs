//! The load program: HTTP/1.1 on kept connections, requests written beforehand, answers read by their length.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest latency that is told apart, microseconds.
pub const LONGEST_US: u64 = 60_000_000;

/// A request as it goes over the wire, and where in it a key of 32 characters is to be put.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
    key_at: Option<usize>,
}

const KEY_HEADER: &str = "Idempotency-Key: ";
const KEY_LENGTH: usize = 32;

impl Request {
    /// Renders a request with a token; one with a key gets a new one each time it is sent.
    pub fn new(method: &str, path: &str, token: &str, body: &str, has_key: bool) -> Self {
        let key = if has_key { format!("{KEY_HEADER}{}\r\n", "0".repeat(KEY_LENGTH)) } else { String::new() };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let key_at = has_key.then(|| text.find(KEY_HEADER)).flatten().map(|at| at + KEY_HEADER.len());
        Self { bytes: text.into_bytes(), key_at }
    }

    /// As it is, with a key of zeros if it has one.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the request with this key into a buffer.
    pub fn render(&self, into: &mut Vec<u8>, key: u128) {
        into.clear();
        into.extend_from_slice(&self.bytes);
        if let Some(at) = self.key_at {
            into[at..at + KEY_LENGTH].copy_from_slice(format!("{key:032x}").as_bytes());
        }
    }
}

/// What to send, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Ports of the servers on 127.0.0.1, which the connections are spread over.
    pub ports: Vec<u16>,
    /// Connections, each its own loop.
    pub connections: u32,
    /// One of these at random each time.
    pub requests: Arc<Vec<Request>>,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub run_time: Duration,
    /// Sets apart the keys of this run.
    pub run_number: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Sample {
    /// Answers counted.
    pub answers: u64,
    /// All answers, those before and after the time that counts included.
    pub acknowledged: u64,
    /// Over so many seconds.
    pub seconds: f64,
    /// Microseconds.
    pub latency: Histogram<u64>,
}

impl Load {
    /// Runs to the end; `on_start` is called when counting begins.
    ///
    /// # Errors
    /// Any answer but 200, and any trouble with a connection: figures with errors in them are no figures.
    pub async fn run(&self, on_start: impl FnOnce()) -> io::Result<Sample> {
        let begin = Instant::now() + self.warm_up;
        let end = begin + self.run_time;
        let mut tasks = Vec::new();
        for number in 0..self.connections {
            let load = self.clone();
            tasks.push(tokio::spawn(async move { load.connection(number, begin, end).await }));
        }
        tokio::time::sleep_until(begin.into()).await;
        on_start();
        let (mut latency, mut acknowledged) = (new_histogram()?, 0);
        for task in tasks {
            let (of_one, count) = task.await.map_err(io::Error::other)??;
            latency.add(of_one).map_err(io::Error::other)?;
            acknowledged += count;
        }
        Ok(Sample { answers: latency.len(), acknowledged, seconds: self.run_time.as_secs_f64(), latency })
    }

    fn port_of(&self, number: u32) -> u16 {
        let place = usize::try_from(number).unwrap_or_default() % self.ports.len().max(1);
        self.ports.get(place).copied().unwrap_or_default()
    }

    /// The latencies that count, and how many answers there were altogether.
    async fn connection(self, number: u32, begin: Instant, end: Instant) -> io::Result<(Histogram<u64>, u64)> {
        let mut connection = Connection::open(self.port_of(number)).await?;
        let mut latency = new_histogram()?;
        let mut choice = Choice(u64::from(number) + 1);
        let mut bytes = Vec::new();
        let mut count = 0_u64;
        loop {
            let sent = Instant::now();
            if sent >= end {
                return Ok((latency, count));
            }
            let key = (u128::from(self.run_number) << 96) | (u128::from(number) << 64) | u128::from(count);
            choice.from(&self.requests).render(&mut bytes, key);
            let status = connection.exchange(&bytes).await?.status;
            if status != 200 {
                let answer = String::from_utf8_lossy(connection.body()).into_owned();
                return Err(io::Error::other(format!("the server answered {status} under load: {answer}")));
            }
            count += 1;
            let answered = Instant::now();
            if answered >= begin && answered < end {
                latency.saturating_record(u64::try_from((answered - sent).as_micros()).unwrap_or(LONGEST_US));
            }
        }
    }
}

/// An empty histogram of microseconds.
///
/// # Errors
/// None that happens: the bounds are fixed.
pub fn new_histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_US, 3).map_err(io::Error::other)
}

/// Xorshift: a different, repeatable walk for each connection. Starts with anything but 0.
#[derive(Debug)]
pub struct Choice(pub u64);

impl Choice {
    /// One of these.
    pub fn from<'a>(&mut self, requests: &'a [Request]) -> &'a Request {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let place = usize::try_from(mixed).unwrap_or_default() % requests.len();
        &requests[place]
    }
}

/// The head of an answer, and where its body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    body_at: usize,
    end: usize,
    is_last: bool,
}

/// A connection that is kept as long as the server keeps it.
#[derive(Debug)]
pub struct Connection {
    port: u16,
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    last: Answer,
}

impl Connection {
    /// Connects to 127.0.0.1.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = connect(port).await?;
        Ok(Self { port, stream, buffer: vec![0; 16 * 1024], filled: 0, last: Answer::default() })
    }

    /// Sends one request and reads its whole answer, over a new connection if the last answer ended the old one.
    ///
    /// # Errors
    /// Trouble with the connection, or an answer without a length.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        if self.last.is_last {
            self.stream = connect(self.port).await?;
        }
        self.send(request).await?;
        self.filled = 0;
        loop {
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            // Not `try_read`, which takes a socket that was just emptied for a readable one and asks it once more.
            match self.stream.read(&mut self.buffer[self.filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.filled += count,
            }
            if let Some(answer) = parse(&self.buffer[..self.filled])? {
                self.last = answer;
                return Ok(answer);
            }
        }
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.last.body_at..self.last.end]
    }

    async fn send(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The answer in `bytes` once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(head_length) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let head = std::str::from_utf8(&bytes[..head_length]).map_err(|_| bad("the head is not text"))?;
    let status = head.get(9..12).and_then(|text| text.parse().ok()).ok_or_else(|| bad("no status"))?;
    let (mut length, mut is_last) = (None, false);
    for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body_at = head_length + 4;
    let end = body_at + length.ok_or_else(|| bad("the answer has no Content-Length"))?;
    Ok((bytes.len() >= end).then_some(Answer { status, body_at, end, is_last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None, "cut at {cut}");
        }
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, &whole[answer.body_at..answer.end]), (200, &b"abcd"[..]));
    }

    #[test]
    fn an_answer_may_end_its_connection() {
        let is_last = |head: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n");
            parse(answer.as_bytes()).unwrap().unwrap().is_last
        };
        assert!(is_last("Connection: close\r\n"));
        assert!(!is_last("Connection: keep-alive\r\n") && !is_last(""));
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn every_sending_has_its_own_key() {
        let request = Request::new("POST", "/x", "t", "{}", true);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        request.render(&mut one, 1);
        request.render(&mut two, 0xabc);
        assert_eq!(one.len(), two.len());
        let text = String::from_utf8(two).unwrap();
        assert!(text.contains("Idempotency-Key: 00000000000000000000000000000abc\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
    }

    #[test]
    fn choices_spread() {
        let requests: Vec<Request> = (0..100).map(|n| Request::new("GET", &format!("/{n}"), "t", "", false)).collect();
        let mut choice = Choice(1);
        let chosen: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| choice.from(&requests).bytes.clone()).collect();
        assert!(chosen.len() > 90, "{}", chosen.len());
    }
}
