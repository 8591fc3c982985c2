//! Arbitrary octets, read as a list of unique-ids of Dovecot and of Courier: nothing panics, and no
//! two messages have the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| restante::fuzzing::uid_list(input));
