//! The processors as `lscpu` shows them.

use crate::arch::{percpu, time};
use crate::drivers::acpi;
use crate::tasks;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use raw_cpuid::{CpuId, ExtendedFeatures, ExtendedProcessorFeatureIdentifiers, FeatureInfo};
use shell::Cpu;

/// Every CPU that runs, in order of index, then those that ACPI lists and that do not.
pub fn list() -> Vec<Cpu> {
    let id = CpuId::new();
    let basic = id.get_feature_info();
    let template = Cpu {
        id: 0,
        apic_id: 0,
        online: false,
        vendor: id.get_vendor_info().map_or(String::new(), |vendor| String::from(vendor.as_str())),
        brand: id.get_processor_brand_string().map_or(String::new(), |b| String::from(b.as_str().trim())),
        family: basic.as_ref().map_or(0, |basic| u32::from(basic.family_id())),
        model: basic.as_ref().map_or(0, |basic| u32::from(basic.model_id())),
        stepping: basic.as_ref().map_or(0, |basic| u32::from(basic.stepping_id())),
        features: features(&id),
        tsc_hz: time::tsc_frequency(),
        idle: Duration::ZERO,
    };
    let threads = tasks::list();
    let idle = |cpu: usize| threads.iter().filter(|t| t.idle && t.cpu == cpu).map(|t| t.accounting.run).sum();
    let mut cpus: Vec<Cpu> = percpu::all()
        .map(|cpu| Cpu {
            id: cpu.index as u32,
            apic_id: cpu.apic_id,
            online: true,
            idle: Duration::from_nanos(idle(cpu.index)),
            ..template.clone()
        })
        .collect();
    for listed in &acpi::platform().cpus {
        if !cpus.iter().any(|cpu| cpu.apic_id == listed.apic_id) {
            cpus.push(Cpu { id: cpus.len() as u32, apic_id: listed.apic_id, ..template.clone() });
        }
    }
    cpus
}

type Test<T> = (&'static str, fn(&T) -> bool);

const BASIC: &[Test<FeatureInfo>] = &[
    ("fpu", FeatureInfo::has_fpu),
    ("tsc", FeatureInfo::has_tsc),
    ("apic", FeatureInfo::has_apic),
    ("mmx", FeatureInfo::has_mmx),
    ("sse", FeatureInfo::has_sse),
    ("sse2", FeatureInfo::has_sse2),
    ("sse3", FeatureInfo::has_sse3),
    ("ssse3", FeatureInfo::has_ssse3),
    ("sse4_1", FeatureInfo::has_sse41),
    ("sse4_2", FeatureInfo::has_sse42),
    ("popcnt", FeatureInfo::has_popcnt),
    ("aes", FeatureInfo::has_aesni),
    ("pclmulqdq", FeatureInfo::has_pclmulqdq),
    ("fma", FeatureInfo::has_fma),
    ("f16c", FeatureInfo::has_f16c),
    ("xsave", FeatureInfo::has_xsave),
    ("avx", FeatureInfo::has_avx),
    ("rdrand", FeatureInfo::has_rdrand),
    ("x2apic", FeatureInfo::has_x2apic),
    ("hypervisor", FeatureInfo::has_hypervisor),
];

const EXTENDED: &[Test<ExtendedFeatures>] = &[
    ("bmi1", ExtendedFeatures::has_bmi1),
    ("bmi2", ExtendedFeatures::has_bmi2),
    ("avx2", ExtendedFeatures::has_avx2),
    ("erms", ExtendedFeatures::has_rep_movsb_stosb),
    ("smep", ExtendedFeatures::has_smep),
    ("smap", ExtendedFeatures::has_smap),
    ("umip", ExtendedFeatures::has_umip),
    ("rdseed", ExtendedFeatures::has_rdseed),
    ("avx512f", ExtendedFeatures::has_avx512f),
    ("avx512bw", ExtendedFeatures::has_avx512bw),
    ("avx512vl", ExtendedFeatures::has_avx512vl),
    ("avx512_vnni", ExtendedFeatures::has_avx512vnni),
];

const LONG_MODE: &[Test<ExtendedProcessorFeatureIdentifiers>] = &[
    ("nx", ExtendedProcessorFeatureIdentifiers::has_execute_disable),
    ("pdpe1gb", ExtendedProcessorFeatureIdentifiers::has_1gib_pages),
    ("rdtscp", ExtendedProcessorFeatureIdentifiers::has_rdtscp),
    ("lm", ExtendedProcessorFeatureIdentifiers::has_64bit_mode),
];

/// Features under the names of Linux's `/proc/cpuinfo`.
fn features(id: &CpuId<raw_cpuid::CpuIdReaderNative>) -> Vec<&'static str> {
    let mut names = Vec::new();
    collect(id.get_feature_info(), BASIC, &mut names);
    collect(id.get_extended_feature_info(), EXTENDED, &mut names);
    collect(id.get_extended_processor_and_feature_identifiers(), LONG_MODE, &mut names);
    if id.get_advanced_power_mgmt_info().is_some_and(|power| power.has_invariant_tsc()) {
        names.push("nonstop_tsc");
    }
    names
}

fn collect<T>(leaf: Option<T>, tests: &[Test<T>], names: &mut Vec<&'static str>) {
    if let Some(leaf) = leaf {
        names.extend(tests.iter().filter(|(_, test)| test(&leaf)).map(|(name, _)| *name));
    }
}
