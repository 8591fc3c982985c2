# `just` lists the recipes.
_list:
    @just --list

# What a change must pass.
check:
    bash .ci/gate

# The same, once all that its tests run is there. It installs nothing, and says what is missing.
ci:
    bash .ci/tools --check
    bash .ci/gate

# The container is privileged, since tests mount small disks. What is built is kept in a volume.
# What CI does, in a container of its own. With Docker; `just engine=podman ci-container` takes another.
ci-container:
    {{engine}} build --tag restante-ci --file .ci/Containerfile .ci
    git ls-files --cached --others --exclude-standard -z \
        | tar --create --null --files-from - --ignore-failed-read \
        | {{engine}} run --rm --interactive --init --privileged --volume restante-ci-target:/restante/target \
            --env CI=true restante-ci sh -c "tar --extract --no-same-owner && bash .ci/run"

# What runs containers.
engine := "docker"

# Format the code.
fmt:
    cargo fmt --all

# Clippy, warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, on SQLite and on a throw-away PostgreSQL.
test *ARGS:
    cargo test {{ARGS}}

# The transcripts of the protocol alone; `just transcripts stat_of_an_empty_maildrop` plays one everywhere.
transcripts *ARGS:
    cargo test --test transcripts -- {{ARGS}}

# The release profile strips symbols, which the stack of a crash needs.
# Fuzz each parser for so many seconds, or one: `just fuzz 600 mbox` (nightly Rust, cargo-fuzz).
fuzz SECONDS="60" *TARGETS:
    for target in {{ if TARGETS == "" { "$(cargo +nightly fuzz list)" } else { TARGETS } }}; do \
        CARGO_PROFILE_RELEASE_STRIP=false cargo +nightly fuzz run $target -- -max_total_time={{SECONDS}} || exit 1; \
    done

# Kill, freeze and cut off servers for so many seconds, and look for what was promised; `just chaos 300 SEED` repeats one.
chaos SECONDS="300" *SEED:
    cargo test --bench chaos -- {{SECONDS}} {{SEED}}

# Which lines the tests run, as a page in target/llvm-cov (cargo install cargo-llvm-cov).
cover *ARGS:
    cargo llvm-cov --html {{ARGS}}

# Licences, known vulnerabilities and duplicates of the crates that Restante is built from (cargo install cargo-deny).
audit:
    bash .ci/audit

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

# The notices of all crates in the program, in target/packaging (cargo install cargo-about --features cli).
licences:
    mkdir -p target/packaging
    cargo fetch --locked
    cargo about generate --locked --offline --fail --output-file target/packaging/THIRD-PARTY-LICENSES.txt about.hbs

# A package for Debian, in target/debian; needs cargo-deb (cargo install cargo-deb).
deb: licences
    cargo build --release
    target/release/restante man target/packaging/man
    for shell in bash zsh fish; do target/release/restante completions $shell > target/packaging/restante.$shell; done
    cargo deb --no-build
