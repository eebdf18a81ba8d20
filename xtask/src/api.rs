//! The few requests that the tools make themselves: of Florin, or of another service with the same routes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The user that the tools sign in as.
const USERNAME: &str = "xtask";
/// Its password, on servers that are thrown away.
pub const PASSWORD: &str = "Only-For-Measuring-1";

/// A service on a port of 127.0.0.1; each request has a connection of its own.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    port: u16,
}

impl Api {
    /// The one that listens there.
    pub const fn on(port: u16) -> Self {
        Self { port }
    }

    /// One GET without a token; gives the status.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn try_get(self, path: &str) -> Outcome<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port);
        Ok(self.exchange(&request)?.0)
    }

    /// Registers a user and gives an access token.
    ///
    /// # Errors
    /// When the server answers otherwise than expected.
    pub fn sign_in(self) -> Outcome<String> {
        self.register(USERNAME, PASSWORD)?;
        self.sign_in_as(USERNAME, PASSWORD)
    }

    /// Registers a user.
    ///
    /// # Errors
    /// When the server answers otherwise than expected.
    pub fn register(self, username: &str, password: &str) -> Outcome<()> {
        let user = json!({"username": username, "email": "xtask@example.com", "password": password});
        self.post("/api/auth/users/", None, &user).map(drop)
    }

    /// Gives an access token of a user who is there.
    ///
    /// # Errors
    /// When the server answers otherwise than expected.
    pub fn sign_in_as(self, username: &str, password: &str) -> Outcome<String> {
        let answer = self.post("/api/auth/token/", None, &json!({"username": username, "password": password}))?;
        let token = answer["access"].as_str().ok_or("the answer to the sign-in has no `access`")?;
        Ok(token.to_owned())
    }

    /// One GET; gives the answer's body.
    ///
    /// # Errors
    /// Any status but 2xx, with what the server said.
    pub fn get(self, path: &str, token: &str) -> Outcome<Value> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
            self.port
        );
        let (status, answer) = self.exchange(&request)?;
        if !(200..300).contains(&status) {
            return Err(format!("GET {path}: {status} {answer}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    /// One POST with a JSON body; gives the answer's body.
    ///
    /// # Errors
    /// Any status but 2xx, with what the server said.
    pub fn post(self, path: &str, token: Option<&str>, body: &Value) -> Outcome<Value> {
        let body = body.to_string();
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let (status, answer) = self.exchange(&request)?;
        if !(200..300).contains(&status) {
            return Err(format!("POST {path}: {status} {answer}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    fn exchange(self, request: &str) -> Outcome<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the server closed the connection without an answer")?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or("not an HTTP answer")?;
        Ok((status, body.to_owned()))
    }
}
