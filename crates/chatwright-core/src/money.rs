//! What tokens cost, exactly.
//!
//! A [`Price`] is what an operator writes, so much per million tokens. An [`Amount`] is what comes of it, a whole number of
//! 10⁻¹² of the currency: nothing is rounded before somebody [reads it](Amount::micros).
//!
//! ```
//! use chatwright_core::model::Usage;
//! use chatwright_core::money::Prices;
//!
//! let prices: Prices = serde_json::from_str(r#"{"input": "3", "output": "15", "cache_read": "0.3"}"#)?;
//! let usage = Usage { input: Some(1_000), output: Some(500), cache_read: Some(7), ..Usage::default() };
//! let cost = prices.cost(&usage).expect("tokens that have a price");
//! assert_eq!((cost.micros(), cost.to_string().as_str()), (10_503, "0.0105021"));
//! // Free is not the same as without a price.
//! assert_eq!(prices.cost(&Usage::default()), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Usage;

/// Digits behind the point of an [`Amount`].
const AMOUNT_DIGITS: usize = 12;
/// Digits behind the point of a [`Price`].
const PRICE_DIGITS: usize = 6;

/// An exact amount of money: a whole number of 10⁻¹² of the currency that prices are in. Sums stop at the largest one. As text and
/// in JSON it is a decimal number: `"0.0105"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// What a million tokens cost, with at most six digits behind the point and up to 10¹². In JSON it is a decimal number as text,
/// `"3.75"`; a number is read too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// Text is no amount, or no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number from 0 up with at most {digits} digits behind the point, or too large")]
pub struct InvalidMoney {
    digits: usize,
}

/// What the tokens of a model cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prices {
    /// What they cost unless a prompt is long.
    #[serde(flatten)]
    pub rates: Rates,
    /// What all tokens of a request cost whose prompt is longer. Of those that apply, that of the longest counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub long: Vec<LongPrompt>,
}

/// What tokens cost by their kind. A kind without a price is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Tokens of the prompt that were neither read from nor written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Price>,
    /// Tokens of the answer, those of reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Price>,
    /// Tokens of the prompt that were read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Price>,
    /// Tokens of the prompt that were written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Price>,
}

/// What tokens cost where the prompt is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongPrompt {
    /// Prompts of more tokens than these, cached ones included.
    pub over: u64,
    /// What they cost. A kind that has no price here keeps its usual one.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Prices {
    /// What these tokens cost. Nothing if no kind of them has both a count and a price: that is not the same as free.
    pub fn cost(&self, usage: &Usage) -> Option<Amount> {
        let prompt = [usage.input, usage.cache_read, usage.cache_write].into_iter().flatten();
        let prompt = prompt.fold(0, u64::saturating_add);
        let long = self.long.iter().filter(|long| prompt > long.over).max_by_key(|long| long.over);
        let rate = |of: fn(&Rates) -> Option<Price>| {
            long.and_then(|long| of(&long.rates)).or_else(|| of(&self.rates))
        };
        let kinds = [
            (usage.input, rate(|rates| rates.input)),
            (usage.output, rate(|rates| rates.output)),
            (usage.cache_read, rate(|rates| rates.cache_read)),
            (usage.cache_write, rate(|rates| rates.cache_write)),
        ];
        let costs = kinds.into_iter().filter_map(|(tokens, price)| Some(price?.of(tokens?)));
        costs.reduce(|sum, cost| sum + cost)
    }
}

impl Price {
    /// What so many tokens cost.
    pub fn of(self, tokens: u64) -> Amount {
        // A millionth of the price in 10⁻⁶ is one token's in 10⁻¹².
        Amount(u128::from(tokens) * u128::from(self.0))
    }
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many 10⁻¹² of the currency.
    pub const fn from_pico(pico: u128) -> Self {
        Self(pico)
    }

    /// How many 10⁻¹² of the currency.
    pub const fn pico(self) -> u128 {
        self.0
    }

    /// How many millionths of the currency, rounded up: for reports and never to go on counting with.
    pub const fn micros(self) -> u128 {
        self.0.div_ceil(1_000_000)
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// A decimal number as a whole number of its last digits.
fn scaled(text: &str, digits: usize) -> Option<u128> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = if rest.len() > digits { rest.trim_end_matches('0') } else { rest };
    if whole.is_empty() || text.ends_with('.') || !is_number(whole) || !is_number(rest) || rest.len() > digits
    {
        return None;
    }
    let scale = |digits: usize| 10_u128.pow(u32::try_from(digits).expect("a dozen at most"));
    let behind: u128 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    whole.parse::<u128>().ok()?.checked_mul(scale(digits))?.checked_add(behind * scale(digits - rest.len()))
}

fn write(number: u128, digits: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = format!("{number:0>width$}", width = digits + 1);
    let (whole, rest) = text.split_at(text.len() - digits);
    match rest.trim_end_matches('0') {
        "" => f.pad(whole),
        rest => f.pad(&format!("{whole}.{rest}")),
    }
}

impl FromStr for Amount {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        scaled(text, AMOUNT_DIGITS).map(Self).ok_or(InvalidMoney { digits: AMOUNT_DIGITS })
    }
}

impl FromStr for Price {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let price = scaled(text, PRICE_DIGITS).and_then(|price| u64::try_from(price).ok());
        price.filter(|price| *price <= 10_u64.pow(18)).map(Self).ok_or(InvalidMoney { digits: PRICE_DIGITS })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, AMOUNT_DIGITS, f)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0.into(), PRICE_DIGITS, f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number in JSON is read as it is written: its shortest decimal form is that for every number that a price may be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Decimal {
    Text(Box<str>),
    Whole(u64),
    Float(f64),
}

impl Decimal {
    fn parse<'de, T: FromStr<Err = InvalidMoney>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        // What stands there is not told: it may be a secret in the wrong place.
        let wrong = || D::Error::custom("expected a decimal number as text");
        let text = match Self::deserialize(from).map_err(|_| wrong())? {
            Self::Text(text) => text,
            Self::Whole(whole) => whole.to_string().into(),
            Self::Float(float) => float.to_string().into(),
        };
        text.parse().map_err(|error: InvalidMoney| D::Error::custom(error))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Decimal::parse(deserializer)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Decimal::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Option<Price> {
        Some(text.parse().expect("a price"))
    }

    /// Counts by kind: input, output, cache read, cache write.
    fn usage(counts: [Option<u64>; 4]) -> Usage {
        let [input, output, cache_read, cache_write] = counts;
        Usage { input, output, cache_read, cache_write, reasoning: None }
    }

    fn prices(rates: [Option<&str>; 4]) -> Prices {
        let [input, output, cache_read, cache_write] = rates.map(|rate| rate.and_then(price));
        Prices { rates: Rates { input, output, cache_read, cache_write }, long: Vec::new() }
    }

    /// C13, and the inventory of costs.
    #[test]
    fn tokens_cost_what_their_kinds_cost_and_nothing_is_not_the_same_as_no_price() {
        let all = [Some("3"), Some("15"), Some("0.3"), Some("3.75")];
        let odd = [Some("1.23"), Some("4.56"), Some("0.7"), Some("7.89")];
        let none = [None; 4];
        for (rates, counts, micros) in [
            (none, [Some(10), Some(10), None, None], None),
            (all, none.map(|_: Option<&str>| None), None),
            ([Some("0.01"), None, None, None], [Some(1), None, None, None], Some(1)),
            (all, [Some(1_000), None, None, None], Some(3_000)),
            (all, [None, Some(500), None, None], Some(7_500)),
            (all, [None, None, Some(10_000), None], Some(3_000)),
            (all, [None, None, None, Some(5_000)], Some(18_750)),
            (odd, [Some(101), Some(201), Some(1_005), Some(33)], Some(2_005)),
            ([Some("2.5"), None, None, None], [Some(1_234), Some(99), None, None], Some(3_085)),
            (all, [Some(0), Some(0), None, None], Some(0)),
            ([Some("3"), None, None, None], [None, Some(10), None, None], None),
            ([Some("0"), None, None, None], [Some(10), None, None, None], Some(0)),
        ] {
            let cost = prices(rates).cost(&usage(counts));
            assert_eq!(cost.map(Amount::micros), micros, "{rates:?} {counts:?}");
        }
    }

    #[test]
    fn reasoning_is_a_part_of_the_answer_and_costs_nothing_beside_it() {
        let counts = usage([None, Some(500), None, None]);
        let thought = Usage { reasoning: Some(400), ..counts };
        let prices = prices([Some("3"), Some("15"), None, None]);
        assert_eq!(prices.cost(&thought), prices.cost(&counts));
        assert_eq!(prices.cost(&Usage { reasoning: Some(400), ..Usage::default() }), None);
    }

    #[test]
    fn all_tokens_of_a_long_prompt_have_its_prices_and_the_usual_ones_where_it_names_none() {
        let mut prices = prices([Some("1"), Some("10"), Some("0.1"), None]);
        let long =
            |over, input| LongPrompt { over, rates: Rates { input: price(input), ..Rates::default() } };
        prices.long = vec![long(200, "4"), long(100, "2")];
        for (counts, micros) in [
            ([Some(100), Some(1), None, None], 110),
            // Cached tokens make a prompt long too.
            ([Some(100), Some(1), Some(10), None], 211),
            ([Some(201), Some(1), None, None], 814),
        ] {
            assert_eq!(prices.cost(&usage(counts)).map(Amount::micros), Some(micros), "{counts:?}");
        }
    }

    #[test]
    fn money_is_read_as_it_is_written_and_nothing_else_is_money() {
        for (text, pico) in
            [("0", 0), ("1", 10_u128.pow(12)), ("0.000000000001", 1), ("12.50", 12_500_000_000_000)]
        {
            assert_eq!(text.parse(), Ok(Amount::from_pico(pico)));
        }
        assert_eq!("3.7500000000".parse::<Price>().map(|price| price.to_string()), Ok("3.75".to_owned()));
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "0.0000000000001", "NaN", "1.2.3"] {
            assert!(text.parse::<Amount>().is_err(), "{text:?}");
        }
        assert!("0.0000001".parse::<Price>().is_err(), "a seventh digit");
        assert!("1000000000001".parse::<Price>().is_err() && "1000000000000".parse::<Price>().is_ok());
        for (json, text) in [(r#""0.30""#, "0.3"), ("0.3", "0.3"), ("15", "15"), ("2.50", "2.5")] {
            assert_eq!(serde_json::from_str::<Price>(json).expect("a price").to_string(), text);
        }
        for json in [r#""sk-secret""#, "-1", "1e-9", "null", r#"{"sk":"secret"}"#] {
            let error = serde_json::from_str::<Price>(json).expect_err("no price").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(serde_json::to_string(&Amount::from_pico(10_500_000_000)).expect("text"), r#""0.0105""#);
    }

    #[test]
    fn sums_that_are_too_large_stop_at_the_largest() {
        let most = Amount::from_pico(u128::MAX);
        assert_eq!([most, Amount::from_pico(1)].into_iter().sum::<Amount>(), most);
        let dear = Price(10_u64.pow(18));
        let prices = Prices {
            rates: Rates { input: Some(dear), output: Some(dear), ..Rates::default() },
            ..Prices::default()
        };
        let most = usage([Some(u64::MAX), Some(u64::MAX), Some(u64::MAX), Some(u64::MAX)]);
        assert!(prices.cost(&most).is_some());
    }

    proptest! {
        #[test]
        fn money_comes_back_from_its_text(pico in any::<u128>(), millionths in 0..=10_u64.pow(18)) {
            let amount = Amount::from_pico(pico);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
            let json = serde_json::to_string(&Price(millionths)).expect("text");
            prop_assert_eq!(serde_json::from_str::<Price>(&json).expect("a price"), Price(millionths));
        }

        #[test]
        fn a_price_in_a_json_number_is_the_one_that_is_written(whole in 0..1_000_u32, behind in 0..1_000_000_u32) {
            let text = format!("{whole}.{behind:06}");
            prop_assert_eq!(serde_json::from_str::<Price>(&text).expect("a price"), text.parse().expect("a price"));
        }

        #[test]
        fn the_costs_of_two_requests_are_the_sum_of_their_tokens_costs(
            rates in proptest::array::uniform4(0..10_u64.pow(12)),
            one in proptest::array::uniform4(0..10_u64.pow(9)),
            two in proptest::array::uniform4(0..10_u64.pow(9)),
        ) {
            let [input, output, cache_read, cache_write] = rates.map(|rate| Some(Price(rate)));
            let prices = Prices { rates: Rates { input, output, cache_read, cache_write }, long: Vec::new() };
            let both: [Option<u64>; 4] = std::array::from_fn(|n| Some(one[n] + two[n]));
            let sum = [one, two].map(|counts| prices.cost(&usage(counts.map(Some))).expect("priced")).into_iter().sum();
            prop_assert_eq!(prices.cost(&usage(both)), Some(sum));
        }
    }
}
