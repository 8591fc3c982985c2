# `just` lists the recipes.
_list:
    @just --list

# What a change must pass.
check: fmt-check lint fuzz-check doc test

# What CI calls: installs what the tests need, then the same.
ci:
    bash .ci/run

# Format the code.
fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

# Clippy, warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, on SQLite and on a throw-away PostgreSQL.
test *ARGS:
    cargo test {{ARGS}}

# The transcripts of the protocol alone; `just transcripts stat_of_an_empty_maildrop` plays one everywhere.
transcripts *ARGS:
    cargo test --test transcripts -- {{ARGS}}

# Do the fuzz targets compile?
fuzz-check:
    cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target

# Fuzz command lines and AUTH exchanges, so many seconds each (nightly Rust, cargo-fuzz).
fuzz SECONDS="60":
    for target in commands auth; do \
        cargo +nightly fuzz run $target -- -max_total_time={{SECONDS}} || exit 1; \
    done

# Kill, freeze and cut off servers for so many seconds, and look for what was promised; `just chaos 300 SEED` repeats one.
chaos SECONDS="300" *SEED:
    cargo test --bench chaos -- {{SECONDS}} {{SEED}}

# A server with sample mail on loopback.
demo:
    cargo run --release -- demo

# The server, with the settings of the environment.
serve:
    cargo run --release -- serve

# Bring the database's schema up to date.
migrate:
    cargo run --release -- migrate

# The documentation of the code.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Restante beside Dovecot; see benches/README.md for what it needs.
bench *ARGS:
    cargo build --release
    benches/run --server restante --bin target/release/restante {{ARGS}}

# A package for Debian, in target/debian; needs cargo-deb (cargo install cargo-deb).
deb:
    cargo build --release
    target/release/restante man target/packaging/man
    for shell in bash zsh fish; do target/release/restante completions $shell > target/packaging/restante.$shell; done
    cargo deb --no-build
