//! Turns the protos into Rust without a protoc on the machine: the public API
//! with client, server and a descriptor set for reflection, and the store's rows.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const API: &str = "videogen/v1/videogen.proto";
const STORE: [&str; 4] = [
    "videogen/store/v1/record.proto",
    "videogen/store/v1/tombstone.proto",
    "videogen/store/v1/announcement.proto",
    "videogen/store/v1/backup.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    api(&out)?;
    stored()
}

fn api(out: &Path) -> Result<(), Box<dyn Error>> {
    let compiler = compile(&[API])?;
    // Through protox's own encoder, which keeps options that prost does not know.
    fs::write(out.join("videogen.bin"), compiler.encode_file_descriptor_set())?;
    // Maps in order, so that equal messages are equal bytes.
    tonic_prost_build::configure().btree_map(".").bytes(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn stored() -> Result<(), Box<dyn Error>> {
    let compiler = compile(&STORE)?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .build_client(false)
        .build_server(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn compile(files: &[&str]) -> Result<protox::Compiler, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    Ok(compiler)
}
