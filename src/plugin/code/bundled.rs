//! The plugins that come with the server. `build.rs` builds them from `plugins/`.

pub struct Bundled {
    pub name: &'static str,
    /// The bytes of the component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

pub fn find(name: &str) -> Option<&'static Bundled> {
    BUNDLED.iter().find(|bundled| bundled.name == name)
}
