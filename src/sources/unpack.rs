//! Messages that are packed, as Dovecot's zlib and `mail_compress` plugins write them.

mod frames;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use super::mbox;
use frames::{DovecotLz4, Lz4Frames, ZstdFrames};

/// The beginning of Dovecot's own form of LZ4.
const DOVECOT_LZ4: &[u8] = b"Dovecot-LZ4\x0d\x2a\x9b\xc5";

/// Memory limit for a file in xz; `xz -9` asks for 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 * 1024;

/// Maximum size of a message that was compressed. A file of some KiB may unpack to any size, and is
/// not to fill the disk; a message that is really so large is imported after it was unpacked.
const MAX_UNPACKED_OCTETS: u64 = 256 * 1024 * 1024;

/// Maximum size of a message that was not compressed: more than any that was ever sent. A file may
/// be one hole, or grow for as long as it is read.
const MAX_OCTETS: u64 = 1024 * 1024 * 1024;

/// Octets of a file that show its format: enough for a From_ line and what follows it.
const BEGINNING_OCTETS: u64 = mbox::BEGINNING_OCTETS as u64;

/// The formats of compressed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// LZ4, as its own program writes it.
    Lz4,
    /// LZ4, as Dovecot writes it.
    DovecotLz4,
}

/// The beginnings of other compressed files, and why they can't be read.
const UNREADABLE: [(&[u8], &str); 14] = [
    (
        b"CRYPTED\x03\x07",
        "it is encrypted by Dovecot (mail_crypt): import pop3:// of that server",
    ),
    (b"\x1f\x9d", "it is packed with compress: unpack it first"),
    (b"\x1f\xa0", "it is packed with compress: unpack it first"),
    (b"\x1f\x1e", "it is packed with pack: unpack it first"),
    (b"\x5d\x00\x00", "it is packed with lzma: unpack it first"),
    (b"LZIP\x01", "it is packed with lzip: unpack it first"),
    (b"\x89LZO\x00", "it is packed with lzop: unpack it first"),
    (
        b"\x02\x21\x4c\x18",
        "it is packed with an old form of lz4: unpack it first",
    ),
    (
        b"\xff\x06\x00\x00sNaPpY",
        "it is packed with snappy: unpack it first",
    ),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive: unpack it first"),
    (b"\x78\x01", "it is packed with zlib: unpack it first"),
    (b"\x78\x9c", "it is packed with zlib: unpack it first"),
    (b"\x78\xda", "it is packed with zlib: unpack it first"),
];

impl Packing {
    /// Returns the format of a file that begins so. No message begins with any of these octets; for
    /// what Dovecot packs they are those that Dovecot itself goes by.
    ///
    /// # Errors
    /// If it is packed in a way that can't be read here.
    fn of(beginning: &[u8]) -> io::Result<Option<Self>> {
        Ok(Some(match beginning {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            _ if beginning.starts_with(DOVECOT_LZ4) => Self::DovecotLz4,
            _ => {
                let known = UNREADABLE.iter().find(|(it, _)| beginning.starts_with(it));
                return known.map_or(Ok(None), |(_, reason)| Err(io::Error::other(*reason)));
            }
        }))
    }

    fn unpack(self, file: File) -> io::Result<Box<dyn Read>> {
        let file = BufReader::new(file);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Self::Xz => {
                let several = true;
                let xz = lzma_rust2::XzReader::new_mem_limit(file, several, XZ_MEMORY_KIB);
                Box::new(xz)
            }
            Self::Zstd => Box::new(ZstdFrames::new(file)),
            Self::Lz4 => Box::new(Lz4Frames::new(file)),
            Self::DovecotLz4 => Box::new(DovecotLz4::new(file, DOVECOT_LZ4.len())?),
        })
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 | Self::DovecotLz4 => "lz4",
        })
    }
}

/// A message in a file, unpacked if it was packed.
pub(super) struct Message {
    packing: Option<Packing>,
    /// The octets that were read to find out the format, and how many of them have been read again.
    beginning: Vec<u8>,
    repeated: usize,
    rest: Box<dyn Read>,
    octets: u64,
    max_octets: u64,
}

impl Message {
    /// Begins to read a file.
    ///
    /// # Errors
    /// If it can't be read, or not unpacked.
    pub(super) fn open(file: File) -> io::Result<Self> {
        Self::open_up_to(file, MAX_UNPACKED_OCTETS)
    }

    fn open_up_to(mut file: File, max_unpacked: u64) -> io::Result<Self> {
        let beginning = beginning_of(&mut file)?;
        file.rewind()?;
        let packing = Packing::of(&beginning)?;
        let rest: Box<dyn Read> = match packing {
            Some(packing) => packing
                .unpack(file)
                .map_err(|error| packing.broken(error))?,
            None if file.metadata()?.len() > MAX_OCTETS => return Err(too_large()),
            None => Box::new(file),
        };
        let mut message = Self {
            packing,
            beginning: Vec::new(),
            repeated: 0,
            rest,
            octets: 0,
            max_octets: packing.map_or(MAX_OCTETS, |_| max_unpacked),
        };
        message.beginning = beginning_of(&mut message)?;
        match packing {
            Some(packing) if !matches!(Packing::of(&message.beginning), Ok(None)) => {
                let reason = format!("it is packed with {packing}, and what comes out is packed");
                Err(io::Error::other(reason + " too: unpack it first"))
            }
            Some(_) | None => Ok(message),
        }
    }

    /// Returns the format of its compression, if it is compressed.
    pub(super) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// Its first octets.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// Goes past the From_ line that some programs leave in front of a message that they save.
    pub(super) fn skip_from_line(&mut self) {
        self.repeated = mbox::octets_of_from_line(&self.beginning);
    }

    fn read_on(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(out);
        let read = read.map_err(|error| match self.packing {
            Some(packing) => packing.broken(error),
            None => error,
        })?;
        self.octets += read as u64;
        if self.octets <= self.max_octets {
            return Ok(read);
        }
        Err(match self.packing {
            Some(packing) => {
                let mib = self.max_octets >> 20;
                io::Error::other(format!(
                    "it is packed with {packing} and has more than {mib} MiB: unpack it first"
                ))
            }
            None => too_large(),
        })
    }
}

fn too_large() -> io::Error {
    let mib = MAX_OCTETS >> 20;
    io::Error::other(format!("it has more than {mib} MiB, so it is no message"))
}

impl Packing {
    fn broken(self, error: io::Error) -> io::Error {
        let reason = if error.kind() == io::ErrorKind::UnexpectedEof {
            format!("it is packed with {self}, and its end is missing")
        } else {
            format!("it is packed with {self}, and can't be unpacked: {error}")
        };
        io::Error::new(error.kind(), reason)
    }
}

impl Read for Message {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let beginning = self.beginning.get(self.repeated..).unwrap_or_default();
        if beginning.is_empty() {
            return self.read_on(out);
        }
        let octets = beginning.len().min(out.len());
        let (from, to) = (beginning.get(..octets), out.get_mut(..octets));
        if let (Some(from), Some(to)) = (from, to) {
            to.copy_from_slice(from);
        }
        self.repeated += octets;
        Ok(octets)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = f.debug_struct("Message");
        message.field("packing", &self.packing);
        message
            .field("octets", &self.octets)
            .finish_non_exhaustive()
    }
}

/// Reads the first octets of something.
pub(super) fn beginning_of(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    stream.take(BEGINNING_OCTETS).read_to_end(&mut beginning)?;
    Ok(beginning)
}

#[cfg(test)]
mod tests;
