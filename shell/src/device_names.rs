//! Names of PCI devices, from `llm::knowledge`.
pub(crate) fn vendor(_id: u16) -> Option<&'static str> {
    None
}
pub(crate) fn device(_v: u16, _d: u16) -> Option<&'static str> {
    None
}
pub(crate) fn subsystem(_v: u16, _d: u16, _sv: u16, _sd: u16) -> Option<&'static str> {
    None
}
pub(crate) fn class(_c: u8, _s: u8) -> Option<&'static str> {
    None
}
