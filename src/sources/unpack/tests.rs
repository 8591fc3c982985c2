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
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(octets).unwrap();
            gzip.finish().unwrap()
        }
        Packing::Bzip2 => {
            let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            bzip2.write_all(octets).unwrap();
            bzip2.finish().unwrap()
        }
        Packing::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(0);
            let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            xz.write_all(octets).unwrap();
            xz.finish().unwrap()
        }
        Packing::Zstd => {
            ruzstd::encoding::compress_to_vec(octets, ruzstd::encoding::CompressionLevel::Fastest)
        }
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
