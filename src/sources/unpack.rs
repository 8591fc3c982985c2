//! Messages that are packed, as Dovecot's zlib and `mail_compress` plugins write them.

mod frames;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use super::mbox;
use frames::{DovecotLz4, Lz4Frames, ZstdFrames};

/// What Dovecot's own form of LZ4 begins with.
const DOVECOT_LZ4: &[u8] = b"Dovecot-LZ4\x0d\x2a\x9b\xc5";

/// How much memory a file in xz may ask for; `xz -9` asks for 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 * 1024;

/// How much a message may have that was packed. A file of some KiB may unpack to any size, and is
/// not to fill the disk; a message that is really so large is imported after it was unpacked.
const MAX_UNPACKED_OCTETS: u64 = 256 * 1024 * 1024;

/// How much a message may have that was not packed: more than any that was ever sent. A file may
/// be one hole, or grow for as long as it is read.
const MAX_OCTETS: u64 = 1024 * 1024 * 1024;

/// How much of a file is looked at to see what it is: enough for a From_ line and what follows it.
const BEGINNING_OCTETS: u64 = mbox::BEGINNING_OCTETS as u64;

/// How a message is packed.
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

/// What other files begin with that are packed, and why they can't be read.
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
    /// How a file is packed that begins so. No message begins with any of these octets; for what
    /// Dovecot packs they are those that Dovecot itself goes by.
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
    /// What was read of it to see what it is, and how much of that has been read again.
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

    /// How it is packed, if it is.
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const FORMS: [Packing; 6] = [
        Packing::Gzip,
        Packing::Bzip2,
        Packing::Xz,
        Packing::Zstd,
        Packing::Lz4,
        Packing::DovecotLz4,
    ];

    fn pack(packing: Packing, octets: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(octets).unwrap();
                gzip.finish().unwrap()
            }
            Packing::Bzip2 => {
                let mut bzip2 =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                bzip2.write_all(octets).unwrap();
                bzip2.finish().unwrap()
            }
            Packing::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(0);
                let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                xz.write_all(octets).unwrap();
                xz.finish().unwrap()
            }
            Packing::Zstd => ruzstd::encoding::compress_to_vec(
                octets,
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            Packing::Lz4 => {
                let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
                lz4.write_all(octets).unwrap();
                lz4.finish().unwrap()
            }
            Packing::DovecotLz4 => {
                let mut packed = [DOVECOT_LZ4, &0x10000_u32.to_be_bytes()].concat();
                for chunk in octets.chunks(0x10000) {
                    let chunk = lz4_flex::block::compress(chunk);
                    packed.extend(u32::try_from(chunk.len()).unwrap().to_be_bytes());
                    packed.extend(chunk);
                }
                packed
            }
        }
    }

    fn file(octets: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(octets).unwrap();
        file.rewind().unwrap();
        file
    }

    fn unpacked(octets: &[u8]) -> io::Result<Vec<u8>> {
        let mut unpacked = Vec::new();
        Message::open(file(octets))?.read_to_end(&mut unpacked)?;
        Ok(unpacked)
    }

    /// A message of some chunks.
    fn letter() -> Vec<u8> {
        let line = |n: usize| format!("line {n} of {}\r\n", n * n % 1009);
        let lines: String = (0..12_000).map(line).collect();
        format!("Subject: packed\r\n\r\n{lines}").into_bytes()
    }

    #[test]
    fn every_form_is_unpacked() {
        for packing in FORMS {
            for letter in [letter(), b"A: 1\n".to_vec(), Vec::new()] {
                let packed = pack(packing, &letter);
                assert_eq!(Packing::of(&packed).unwrap(), Some(packing));
                assert_eq!(unpacked(&packed).unwrap(), letter, "{packing:?}");
            }
        }
        assert_eq!(unpacked(&letter()).unwrap(), letter());
        assert_eq!(unpacked(b"").unwrap(), b"");
    }

    #[test]
    fn a_file_may_consist_of_several_parts() {
        for packing in [
            Packing::Gzip,
            Packing::Bzip2,
            Packing::Xz,
            Packing::Zstd,
            Packing::Lz4,
        ] {
            let parts = [b"A: 1\n".as_slice(), b"", b"\nhi\n"].map(|part| pack(packing, part));
            assert_eq!(
                unpacked(&parts.concat()).unwrap(),
                b"A: 1\n\nhi\n",
                "{packing}"
            );
        }
        // What Zstandard skips is no part.
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let parts = [pack(Packing::Zstd, b"A: 1\n"), skipped.clone()];
        assert_eq!(unpacked(&parts.concat()).unwrap(), b"A: 1\n");
        let cut = [pack(Packing::Zstd, b"A: 1\n"), skipped[..9].to_vec()];
        assert!(unpacked(&cut.concat()).is_err());
    }

    #[test]
    fn what_lacks_its_end_or_has_something_behind_it_is_refused() {
        for packing in FORMS {
            let packed = pack(packing, &letter());
            let cuts = (6..40)
                .chain([packed.len() / 2])
                .chain(packed.len() - 12..packed.len());
            for cut in cuts {
                let error = match unpacked(&packed[..cut]) {
                    Err(error) => error.to_string(),
                    // Nothing marks the end of Dovecot's form.
                    Ok(none) if none.is_empty() && packing == Packing::DovecotLz4 => continue,
                    // So little tells nothing yet.
                    Ok(same) if same == packed[..cut] => continue,
                    Ok(_) => panic!("{packing:?} of {cut} octets"),
                };
                let begins = format!("it is packed with {packing}, and ");
                assert!(error.starts_with(&begins), "{cut}: {error}");
            }
            let longer = [packed, b"something".to_vec()].concat();
            assert!(unpacked(&longer).is_err(), "{packing:?}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        for (packing, from_end) in [(Packing::Gzip, 8), (Packing::Zstd, 1), (Packing::Lz4, 1)] {
            let mut packed = if packing == Packing::Lz4 {
                let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
                let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                lz4.write_all(&letter()).unwrap();
                lz4.finish().unwrap()
            } else {
                pack(packing, &letter())
            };
            assert_eq!(unpacked(&packed).unwrap(), letter());
            let at = packed.len() - from_end;
            packed[at] ^= 1;
            assert!(unpacked(&packed).is_err(), "{packing}");
        }
    }

    #[test]
    fn what_is_packed_twice_or_in_an_unknown_way_is_refused() {
        for packing in FORMS {
            let twice = pack(packing, &pack(Packing::Gzip, &letter()));
            let error = unpacked(&twice).unwrap_err().to_string();
            assert!(error.contains("what comes out is packed too"), "{error}");
        }
        for (octets, words) in [
            (b"CRYPTED\x03\x07\x02".as_slice(), "encrypted by Dovecot"),
            (b"\x1f\x9d\x90", "compress"),
            (b"\x5d\0\0\x80\0\xff", "lzma"),
            (b"PK\x03\x04", "zip"),
        ] {
            let error = unpacked(octets).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_unpacks_to_more_than_is_allowed_is_refused_without_being_read() {
        let letter = letter();
        let octets = letter.len() as u64;
        for packing in FORMS {
            let packed = pack(packing, &letter);
            let mut message = Message::open_up_to(file(&packed), octets).unwrap();
            let mut unpacked = Vec::new();
            message.read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, letter);
            let mut message = Message::open_up_to(file(&packed), octets - 1).unwrap();
            let error = message.read_to_end(&mut unpacked).unwrap_err();
            assert!(error.to_string().contains("has more than"), "{error}");
        }
        // A file of one hole, and one that grows while it is read.
        let hole = tempfile::tempfile().unwrap();
        hole.set_len(MAX_OCTETS).unwrap();
        let mut growing = Message::open(hole.try_clone().unwrap()).unwrap();
        growing.octets = MAX_OCTETS - 1;
        assert_eq!(growing.read_on(&mut [0]).unwrap(), 1);
        let error = growing.read_on(&mut [0]).unwrap_err();
        let expected = "it has more than 1024 MiB, so it is no message";
        assert_eq!(error.to_string(), expected);
        hole.set_len(MAX_OCTETS + 1).unwrap();
        assert_eq!(Message::open(hole).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_file_that_asks_for_much_memory_is_refused() {
        // Both are headers alone: they ask before anything is unpacked.
        let zstd = b"\x28\xb5\x2f\xfd\x00\xf8\0\0\0\0\0";
        let error = unpacked(zstd).unwrap_err().to_string();
        assert!(error.contains("window_size is too big"), "{error}");
        let options = {
            let mut options = lzma_rust2::XzOptions::with_preset(0);
            options.lzma_options.dict_size = 256 * 1024 * 1024;
            options
        };
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(b"A: 1\n").unwrap();
        let error = unpacked(&xz.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
        let lz4 = [DOVECOT_LZ4, &[0xff; 4]].concat();
        let error = unpacked(&lz4).unwrap_err().to_string();
        assert!(error.contains("a chunk of 4294967295 octets"), "{error}");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(
            form in proptest::sample::select(FORMS.to_vec()),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut packed = pack(form, &letter()[..3000]);
            for (at, octet) in changes {
                let at = at.index(packed.len());
                packed[at] = octet;
            }
            packed.truncate(cut.index(packed.len() * 2));
            let _ = unpacked(&packed);
        }
    }
}
