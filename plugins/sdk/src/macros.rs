//! `plugin!` and its short forms: the macros that make a crate a component.

/// Makes the crate a component of one kind or several, each with a type of its own:
///
/// ```ignore
/// plugin! { manifest: r#"{ "name": "orders" }"#, validator: Checks, policy: Hours }
/// ```
///
/// The manifest is JSON text, and `wit/plugin.wit` describes it. For other targets than WebAssembly, as in tests, the
/// macro defines [`Plugin::MANIFEST`](crate::Plugin::MANIFEST) and no component.
#[macro_export]
macro_rules! plugin {
    (manifest: $manifest:expr, $($kind:ident: $type:ty),+ $(,)?) => {
        $(
            impl $crate::Plugin for $type {
                const MANIFEST: &'static str = $manifest;
            }
        )+

        // Outside of WebAssembly only tests use the type. This use of `configure` avoids warnings about unused code.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            $(let _ = |mount: &str, settings: &str| $crate::plugin!(@configure $kind $type, mount, settings);)+
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Configured;

            impl $crate::bindings::setup::exports::wasmkeeper::plugin::setup::Guest for Configured {
                fn configure(mount: String, settings: String) -> Result<(), String> {
                    $crate::export::report_panics();
                    $($crate::export::keep($crate::plugin!(@configure $kind $type, &mount, &settings)?)?;)+
                    Ok(())
                }
            }

            $crate::bindings::setup::export_setup!(Configured with_types_in $crate::bindings::setup);

            $($crate::plugin!(@export $kind $type);)+

            const MANIFEST: &str = $manifest;

            #[used]
            #[unsafe(link_section = "wasmkeeper:manifest")]
            static SECTION: [u8; MANIFEST.len()] = {
                let mut bytes = [0; MANIFEST.len()];
                bytes.copy_from_slice(MANIFEST.as_bytes());
                bytes
            };
        };
    };

    (@configure validator $type:ty, $mount:expr, $settings:expr) => {
        <$type as $crate::Validator>::configure($mount, $settings)
    };
    (@configure policy $type:ty, $mount:expr, $settings:expr) => {
        <$type as $crate::Policy>::configure($mount, $settings)
    };
    (@configure authenticator $type:ty, $mount:expr, $settings:expr) => {
        <$type as $crate::Authenticator>::configure($mount, $settings)
    };
    (@configure recipe $type:ty, $mount:expr, $settings:expr) => {
        <$type as $crate::Recipe>::configure($mount, $settings)
    };
    (@configure controller $type:ty, $mount:expr, $settings:expr) => {
        <$type as $crate::Controller>::configure($mount, $settings)
    };

    (@export validator $type:ty) => { $crate::plugin!(@interface validation export_validation $type); };
    (@export policy $type:ty) => { $crate::plugin!(@interface authorization export_authorization $type); };
    (@export authenticator $type:ty) => { $crate::plugin!(@interface authentication export_authentication $type); };
    (@export recipe $type:ty) => { $crate::plugin!(@interface behavior export_behavior $type); };
    (@export controller $type:ty) => { $crate::plugin!(@interface reconciliation export_reconciliation $type); };

    (@interface $interface:ident $export:ident $type:ty) => {
        const _: () = {
            impl $crate::export::Placed for $type {
                fn place() -> &'static ::std::thread::LocalKey<::std::cell::OnceCell<Self>> {
                    ::std::thread_local! {
                        static PLACE: ::std::cell::OnceCell<$type> = const { ::std::cell::OnceCell::new() };
                    }
                    &PLACE
                }
            }

            type Exported = $crate::export::Exported<$type>;

            $crate::bindings::$interface::$export!(Exported with_types_in $crate::bindings::$interface);
        };
    };
}

/// Makes the crate a validator: `validator!(Type, manifest)`. See [`plugin!`].
#[macro_export]
macro_rules! validator {
    ($type:ty, $manifest:expr $(,)?) => {
        $crate::plugin! { manifest: $manifest, validator: $type }
    };
}

/// Makes the crate a policy: `policy!(Type, manifest)`. See [`plugin!`].
#[macro_export]
macro_rules! policy {
    ($type:ty, $manifest:expr $(,)?) => {
        $crate::plugin! { manifest: $manifest, policy: $type }
    };
}

/// Makes the crate an authenticator: `authenticator!(Type, manifest)`. See [`plugin!`].
#[macro_export]
macro_rules! authenticator {
    ($type:ty, $manifest:expr $(,)?) => {
        $crate::plugin! { manifest: $manifest, authenticator: $type }
    };
}

/// Makes the crate a recipe: `recipe!(Type, manifest)`. See [`plugin!`].
#[macro_export]
macro_rules! recipe {
    ($type:ty, $manifest:expr $(,)?) => {
        $crate::plugin! { manifest: $manifest, recipe: $type }
    };
}

/// Makes the crate a controller: `controller!(Type, manifest)`. See [`plugin!`].
#[macro_export]
macro_rules! controller {
    ($type:ty, $manifest:expr $(,)?) => {
        $crate::plugin! { manifest: $manifest, controller: $type }
    };
}
