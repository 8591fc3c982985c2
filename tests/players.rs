//! Reads transcripts and plays them, on the protocol by itself or on a server over the wire.

mod maildrops;
pub(crate) mod playing;
pub(crate) mod pure;
pub(crate) mod transcript;
pub(crate) mod wire;

/// Where transcripts are played.
pub(crate) trait Player {
    /// What stands for this name in the transcripts.
    fn value(&self, name: &str) -> Option<String>;
    /// The client sends octets.
    fn send(&mut self, connection: usize, octets: &[u8]) -> Result<(), String>;
    /// The next line of the server, with its line end.
    fn line(&mut self, connection: usize) -> Result<Vec<u8>, String>;
    /// The next octets of the server.
    fn octets(&mut self, connection: usize, count: usize) -> Result<Vec<u8>, String>;
    /// The server must have closed the connection.
    fn end(&mut self, connection: usize) -> Result<(), String>;
    /// The client shakes hands.
    fn start_tls(&mut self, connection: usize) -> Result<(), String>;
    /// One more message arrives.
    fn deliver(&mut self, message: &[u8]) -> Result<(), String>;
    /// Something happens to storage.
    fn storage(&mut self, storage: Storage) -> Result<(), String>;
    /// Closes all connections: the numbers of the messages that are gone.
    fn finish(&mut self) -> Result<Vec<usize>, String>;
}

pub(crate) fn nothing_more(rest: &[u8]) -> Result<(), String> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(format!("the server said more: {:?}", rest.escape_ascii()))
}

/// `uid 3` is the third of all messages that were ever in the maildrop.
pub(crate) fn unique_id(ids: &[String], name: &str) -> Option<String> {
    let number: usize = name.strip_prefix("uid ")?.parse().ok()?;
    ids.get(number.checked_sub(1)?).cloned()
}

/// What can happen to storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Works,
    Fails,
    HasLostTheMessages,
}
