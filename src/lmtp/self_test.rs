//! The server as its own client: does it greet an MTA?

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::socket::Endpoint;

/// How much of a greeting is read at most.
const MAX_REPLY_OCTETS: u64 = 512;

/// Connects as an MTA does, reads the greeting, and says QUIT.
///
/// # Errors
/// If it does not greet; the text says what it did. There is no deadline.
pub async fn test(endpoint: &Endpoint) -> Result<(), String> {
    let talked = match endpoint {
        Endpoint::Tcp(address) => match TcpStream::connect(address).await {
            Ok(stream) => talk(stream).await,
            Err(error) => Err(error),
        },
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => talk(stream).await,
            Err(error) => Err(error),
        },
    };
    talked.map_err(|error| error.to_string())
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    expect("220", &mut stream).await?;
    stream.write_all(b"QUIT\r\n").await?;
    expect("221", &mut stream).await
}

async fn expect(
    code: &str,
    stream: &mut (impl AsyncBufReadExt + AsyncReadExt + Unpin),
) -> io::Result<()> {
    let mut line = String::new();
    stream.take(MAX_REPLY_OCTETS).read_line(&mut line).await?;
    if line.starts_with(code) && line.ends_with('\n') {
        return Ok(());
    }
    let got = line.trim_end().escape_debug();
    Err(io::Error::other(format!(
        "a reply is not {code} but \"{got}\""
    )))
}
