//! Forms of packed files that their crates read one frame at a time.

use std::io::{self, BufRead, Read};

use lz4_flex::block;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder as ZstdDecoder};

/// Maximum size of a chunk of Dovecot's LZ4, packed or not: Dovecot writes 64 KiB and reads this.
const MAX_CHUNK_OCTETS: usize = 1024 * 1024;

/// Zstandard's frames, one after the other, with their checksums. The crate refuses a frame that
/// asks for more than 128 MiB of memory.
pub(super) struct ZstdFrames<R> {
    stream: R,
    decoder: ZstdDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            decoder: ZstdDecoder::new(),
            in_frame: false,
        }
    }

    /// Begins the next frame; false if there is none.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.stream.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.stream) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut skipped = self.stream.by_ref().take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let said = self.decoder.get_checksum_from_data();
        if said.is_some() && said != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("its checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.stream, one);
                decoded.map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(out);
            }
            self.end_frame()?;
        }
    }
}

/// LZ4's frames, one after the other.
pub(super) struct Lz4Frames<R: Read> {
    decoder: Lz4Decoder<Tail<R>>,
    has_ended: bool,
}

/// A stream, and whether its end was met. The crate takes a frame without its end mark for one
/// that has ended.
struct Tail<R> {
    stream: R,
    is_met: bool,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let octets = self.stream.read(out)?;
        self.is_met |= octets == 0 && !out.is_empty();
        Ok(octets)
    }
}

impl<R: BufRead> Lz4Frames<R> {
    pub(super) fn new(stream: R) -> Self {
        let is_met = false;
        Self {
            decoder: Lz4Decoder::new(Tail { stream, is_met }),
            has_ended: false,
        }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended {
            let octets = self.decoder.read(out)?;
            if octets > 0 || out.is_empty() {
                return Ok(octets);
            }
            let tail = self.decoder.get_mut();
            if tail.is_met {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.has_ended = tail.stream.fill_buf()?.is_empty();
        }
        Ok(0)
    }
}

/// LZ4 as Dovecot writes it: its own header with the largest size of a chunk, then for each chunk
/// its packed size and an LZ4 block. Numbers have four octets, the highest first; nothing marks the
/// end.
pub(super) struct DovecotLz4<R> {
    stream: R,
    packed: Vec<u8>,
    chunk: Vec<u8>,
    /// Size of the chunk in octets, and how much of it was read.
    octets: usize,
    octets_read: usize,
}

impl<R: BufRead> DovecotLz4<R> {
    /// Begins behind so many octets, which say that it is this.
    pub(super) fn new(mut stream: R, magic: usize) -> io::Result<Self> {
        stream.read_exact(&mut vec![0; magic])?;
        let chunk = chunk_octets(&mut stream)?;
        Ok(Self {
            stream,
            packed: Vec::new(),
            chunk: vec![0; chunk],
            octets: 0,
            octets_read: 0,
        })
    }

    /// Unpacks the next chunk; false if there is none.
    fn next_chunk(&mut self) -> io::Result<bool> {
        if self.stream.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let packed = chunk_octets(&mut self.stream)?;
        self.packed.resize(packed, 0);
        self.stream.read_exact(&mut self.packed)?;
        let octets = block::decompress_into(&self.packed, &mut self.chunk);
        self.octets = octets.map_err(io::Error::other)?;
        self.octets_read = 0;
        Ok(true)
    }
}

/// Reads the size of a chunk.
fn chunk_octets(stream: &mut impl Read) -> io::Result<usize> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if (1..=MAX_CHUNK_OCTETS).contains(&size) {
        Ok(size)
    } else {
        let reason = format!("a chunk of {size} octets");
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

impl<R: BufRead> Read for DovecotLz4<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.octets_read == self.octets {
            if !self.next_chunk()? {
                return Ok(0);
            }
        }
        let chunk = self.chunk.get(self.octets_read..self.octets);
        let octets = chunk.unwrap_or_default().read(out)?;
        self.octets_read += octets;
        Ok(octets)
    }
}
