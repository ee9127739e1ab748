//! The digits of a float as Grisu2 finds them: Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
//! Integers" (PLDI 2010). They read back the same, but one time in a thousand they are not the fewest possible; the JSON
//! library in Nix prints them, and derivations with structured attributes have them in their hash, so they must be these.

/// A number `f * 2^e`.
#[derive(Debug, Clone, Copy)]
struct Binary {
    f: u64,
    e: i32,
}

impl Binary {
    fn normalized(self) -> Self {
        let shift = self.f.leading_zeros();
        Self { f: self.f << shift, e: self.e - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.f) * u128::from(other.f) + (1 << 63);
        Self { f: (product >> 64) as u64, e: self.e + other.e + 64 }
    }
}

/// The decimal exponent of the first power in the table, and the distance to the next.
const FIRST_POWER: i32 = -300;
const STEP: i32 = 8;
/// The binary exponent that a number has at least once it is multiplied with its power.
const ALPHA: i32 = -60;

/// 10^k as 64 bits, rounded to the nearest, for k from -300 to 324 in steps of 8.
#[rustfmt::skip]
const POWERS: [u64; 79] = [
    0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f, 0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c,
    0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5, 0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d,
    0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637, 0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7,
    0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5, 0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b,
    0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996, 0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6,
    0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8, 0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053,
    0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd, 0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94,
    0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b, 0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac,
    0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3, 0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb,
    0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c, 0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000,
    0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984, 0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70,
    0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245, 0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8,
    0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a, 0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea,
    0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85, 0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2,
    0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3, 0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25,
    0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece, 0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5,
    0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a, 0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c,
    0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a, 0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129,
    0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429, 0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d,
    0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841, 0x9e19_db92_b4e3_1ba9,
];

/// The power of ten that brings a number with this binary exponent to one from -60 to -32, and its decimal exponent.
fn power_for(e: i32) -> (Binary, i32) {
    let wanted = ALPHA - e - 1;
    let k = wanted * 78_913 / (1 << 18) + i32::from(wanted > 0);
    let index = (k - FIRST_POWER + STEP - 1) / STEP;
    let k = FIRST_POWER + index * STEP;
    let f = usize::try_from(index).ok().and_then(|index| POWERS.get(index)).copied().unwrap_or(1 << 63);
    (Binary { f, e: ((k * 217_706) >> 16) - 63 }, k)
}

/// The decimal digits of a finite float above zero and the exponent of ten of the last one.
pub(super) fn digits(value: f64) -> (Vec<u8>, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let exact = if exponent == 0 {
        Binary { f: fraction, e: 1 - 1075 }
    } else {
        Binary { f: fraction | 1 << 52, e: exponent - 1075 }
    };
    // Halfway to the neighbours; the lower one is closer at a power of two.
    let above = Binary { f: 2 * exact.f + 1, e: exact.e - 1 }.normalized();
    let below = if fraction == 0 && exponent > 1 {
        Binary { f: 4 * exact.f - 1, e: exact.e - 2 }
    } else {
        Binary { f: 2 * exact.f - 1, e: exact.e - 1 }
    };
    let below = Binary { f: below.f << (below.e - above.e), e: above.e };
    let (power, k) = power_for(above.e);
    let exact = exact.normalized().times(power);
    // The products may be off by one: only what lies inside for certain.
    let low = below.times(power).f + 1;
    let high = Binary { f: above.times(power).f - 1, ..above.times(power) };
    generate(low, exact.f, high, -k)
}

/// The digits of `high` until they lie between `low` and `high`, then towards `exact`.
fn generate(low: u64, exact: u64, high: Binary, mut exponent: i32) -> (Vec<u8>, i32) {
    let mut digits = Vec::with_capacity(17);
    let mut room = high.f - low;
    let mut distance = high.f - exact;
    let shift = high.e.unsigned_abs();
    let one = 1_u64 << shift;
    let mut whole = high.f >> shift;
    let mut part = high.f & (one - 1);
    let mut places = whole.checked_ilog10().unwrap_or(0) as i32 + 1;
    let mut ten = 10_u64.pow(places as u32 - 1);
    while places > 0 {
        digits.push(b'0' + (whole / ten) as u8);
        whole %= ten;
        places -= 1;
        let rest = (whole << shift) + part;
        if rest <= room {
            towards(&mut digits, distance, room, rest, ten << shift);
            return (digits, exponent + places);
        }
        ten /= 10;
    }
    loop {
        part *= 10;
        digits.push(b'0' + (part >> shift) as u8);
        part &= one - 1;
        exponent -= 1;
        room *= 10;
        distance *= 10;
        if part <= room {
            towards(&mut digits, distance, room, part, one);
            return (digits, exponent);
        }
    }
}

/// Lowers the last digit while that brings the number closer to the exact one.
fn towards(digits: &mut [u8], distance: u64, room: u64, mut rest: u64, unit: u64) {
    let Some(last) = digits.last_mut() else { return };
    while rest < distance
        && room - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        *last -= 1;
        rest += unit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let (digits, exponent) = digits(value);
        format!("{}e{exponent}", String::from_utf8_lossy(&digits))
    }

    #[test]
    fn digits_are_those_of_the_reference() {
        for (value, wanted) in [
            (1.0, "1e0"),
            (0.1, "1e-1"),
            (5e-324, "5e-324"),
            (f64::MAX, "17976931348623157e292"),
            (2.225_073_858_507_201_4e-308, "22250738585072014e-324"),
            (9_007_199_254_740_992.0, "9007199254740992e0"),
            // Where there are fewer: 3.152519739159349e16.
            (31_525_197_391_593_488.0, "31525197391593488e0"),
            (19_007_199_254_740_992.0, "19007199254740992e0"),
        ] {
            assert_eq!(text(value), wanted, "{value:e}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(state & !(1 << 63));
            if value.is_finite() && value > 0.0 {
                assert_eq!(text(value).parse::<f64>(), Ok(value));
            }
        }
    }
}
