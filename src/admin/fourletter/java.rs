//! Addresses and dates as Java prints them.

use std::net::SocketAddr;

/// A socket address: a slash, then the address. IPv6 is written in full, in brackets.
pub(super) fn java_address(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => format!("/{v4}"),
        SocketAddr::V6(v6) => {
            let segments: Vec<String> = v6.ip().segments().iter().map(|segment| format!("{segment:x}")).collect();
            format!("/[{}]:{}", segments.join(":"), v6.port())
        }
    }
}

/// A `Date` in UTC: `Fri Nov 20 17:18:35 UTC 2026`.
pub(super) fn java_date(unix_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month])
}

/// Year, month (0 is January) and day of a number of days since 1970. The calculation counts years from March, so that
/// the leap day is the last of its year, and uses eras of 400 years, which all have the same length.
fn civil_date(days: i64) -> (i64, usize, i64) {
    const DAYS_OF_ERA: i64 = 146_097;
    // 1 March of year 0 is 719,468 days before 1 January 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, five months have 31, 30, 31, 30, 31 days: 153 days. Then the pattern repeats.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    (year, month as usize, day)
}
