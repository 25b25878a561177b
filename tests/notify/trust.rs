//! TLS: what is trusted, and that nothing is said to a server that is not.

use std::process::Command;

use vm_autoscale::notify::{
    Address, Answer, Gotify, Http, Kind, Secret, SecretSource, Smtp, SmtpTls,
};

use super::answer;
use super::servers::{Certificate, Server};
use super::smtp::{login, smtp};

const TOKEN: &str = "AbCdEf123456-token";

fn gotify(server: &Server, ca: Option<&Certificate>) -> Kind {
    Kind::Gotify(Gotify {
        url: format!("https://127.0.0.1:{}/gotify", server.port)
            .parse::<Address>()
            .unwrap(),
        token: SecretSource::Inline(Secret::new(TOKEN)),
        http: Http {
            ca_file: ca.map(Certificate::trusted),
            proxy: None,
        },
    })
}

#[tokio::test]
async fn a_private_authority_is_trusted_through_its_file_and_only_so() {
    let Some(home) = Certificate::by_private_authority() else {
        return;
    };
    let Some(server) = Server::https(&home) else {
        return;
    };
    assert_eq!(
        answer(gotify(&server, Some(&home))).await,
        Answer::Delivered
    );
    assert_eq!(server.single()["headers"]["x-gotify-key"], TOKEN);
    let answer = answer(gotify(&server, None)).await;
    assert!(
        answer.why().unwrap().contains("certificate verify failed"),
        "{answer:?}"
    );
    assert_eq!(server.record().len(), 1);
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_named() {
    let Some(home) = Certificate::by_private_authority() else {
        return;
    };
    let Some(server) = Server::https(&home) else {
        return;
    };
    std::fs::write(home.trusted(), "this is no certificate\n").unwrap();
    let Answer::Refused { why } = answer(gotify(&server, Some(&home))).await else {
        panic!("an admin must look");
    };
    assert!(why.ends_with("ca.pem holds no certificate in PEM"), "{why}");
}

/// The whole program, as an admin runs it. `SSL_CERT_FILE` stands for the system's store, which OpenSSL reads the same way.
#[test]
fn what_the_system_trusts_is_trusted_even_a_certificate_that_signed_itself() {
    let all = [
        Certificate::by_private_authority(),
        Certificate::self_signed(),
    ];
    for certificate in all.into_iter().flatten() {
        let Some(server) = Server::https(&certificate) else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/vm-autoscale")).unwrap();
        std::fs::create_dir_all(root.path().join("etc/pve/nodes/pve1")).unwrap();
        std::os::unix::fs::symlink("nodes/pve1", root.path().join("etc/pve/local")).unwrap();
        let config = format!(
            "notify:\n  channels:\n    phone:\n      type: gotify\n      url: https://127.0.0.1:{}/gotify\n      token: {TOKEN}\n",
            server.port
        );
        std::fs::write(root.path().join("etc/vm-autoscale/config.yaml"), config).unwrap();
        let notify_test = |trusted: Option<&Certificate>| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vm-autoscale"));
            command.arg("--root").arg(root.path()).arg("notify-test");
            if let Some(trusted) = trusted {
                command.env("SSL_CERT_FILE", trusted.trusted());
            }
            let ran = command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let ran = ran.wait_with_output().unwrap();
            (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
        };
        assert_eq!(
            notify_test(Some(&certificate)),
            (Some(0), "phone: delivered\n".to_owned())
        );
        let (code, text) = notify_test(None);
        assert_eq!(code, Some(1));
        assert!(
            text.starts_with("phone: FAILED: cannot be reached"),
            "{text}"
        );
        assert!(
            text.contains("certificate verify failed") && !text.contains(TOKEN),
            "{text}"
        );
    }
}

#[tokio::test]
async fn mail_is_encrypted_by_starttls_and_from_the_first_byte() {
    let Some(home) = Certificate::by_private_authority() else {
        return;
    };
    let [cert, key] = home.files();
    for (option, tls) in [
        ("--starttls", SmtpTls::Starttls),
        ("--implicit", SmtpTls::Implicit),
    ] {
        let options = [option, &cert, &key, "--login", "pve1:correct horse"];
        // Behind implicit TLS the server cannot know that the connection is safe enough for a login.
        let options = if tls == SmtpTls::Implicit {
            &options[..3]
        } else {
            &options[..]
        };
        let Some(server) = Server::smtp(options) else {
            return;
        };
        let mail = |ca_file| {
            Kind::Smtp(Smtp {
                tls,
                login: (tls == SmtpTls::Starttls)
                    .then(|| login("correct horse"))
                    .flatten(),
                ca_file,
                ..smtp(&server)
            })
        };
        let untrusted = answer(mail(None)).await;
        assert!(
            untrusted
                .why()
                .unwrap()
                .contains("certificate verify failed"),
            "{untrusted:?}"
        );
        assert_eq!(answer(mail(Some(home.trusted()))).await, Answer::Delivered);
        let sent = server.single();
        assert_eq!(sent["tls"], true);
        if tls == SmtpTls::Starttls {
            assert_eq!(sent["user"], "pve1");
        }
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let Some(server) = Server::smtp(&["--login", "pve1:correct horse"]) else {
        return;
    };
    let stripped = Kind::Smtp(Smtp {
        tls: SmtpTls::Starttls,
        login: login("correct horse"),
        ..smtp(&server)
    });
    let answer = answer(stripped).await;
    assert!(answer.why().is_some(), "{answer:?}");
    assert!(server.record().is_empty());
}
