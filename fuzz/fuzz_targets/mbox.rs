//! A file of any octets, read as an mbox: nothing panics, and where the file is cut into pieces does not matter.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| restante::fuzzing::mbox(input));
