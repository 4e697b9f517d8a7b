/** A self-signed certificate for `localhost` and 127.0.0.1, made in memory: no key in the repository, no openssl. */
import { generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";

/** Both PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

// Object identifiers in their DER form.
const COMMON_NAME = Buffer.from("0603550403", "hex");
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex");
const BASIC_CONSTRAINTS = Buffer.from("0603551d13", "hex");
const ECDSA_WITH_SHA256 = Buffer.from("06082a8648ce3d040302", "hex");

const SEQUENCE = 0x30;
const SET = 0x31;
const UTF8 = 0x0c;
const UTC_TIME = 0x17;
const OCTETS = 0x04;
const BITS = 0x03;
const INTEGER = 0x02;

/** Longer than any test run, and around now even where clocks differ by hours. */
const VALID_MS = 86_400_000;

export function selfSigned(): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signed = toBeSigned(publicKey);
  const signature = sign("sha256", signed, privateKey);
  const der = tlv(
    SEQUENCE,
    signed,
    tlv(SEQUENCE, ECDSA_WITH_SHA256),
    tlv(BITS, Buffer.from([0]), signature),
  );
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return {
    cert: ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n"),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/** RFC 5280, section 4.1: TBSCertificate. */
function toBeSigned(publicKey: KeyObject): Buffer {
  const name = tlv(
    SEQUENCE,
    tlv(SET, tlv(SEQUENCE, COMMON_NAME, tlv(UTF8, Buffer.from("localhost")))),
  );
  const names = tlv(
    SEQUENCE,
    tlv(0x82, Buffer.from("localhost")),
    tlv(0x87, Buffer.from([127, 0, 0, 1])),
  );
  const isCa = tlv(SEQUENCE, Buffer.from([0x01, 0x01, 0xff]));
  return tlv(
    SEQUENCE,
    tlv(0xa0, tlv(INTEGER, Buffer.from([2]))),
    // Positive: the first bit is the sign.
    tlv(INTEGER, Buffer.from([1]), randomBytes(15)),
    tlv(SEQUENCE, ECDSA_WITH_SHA256),
    name,
    tlv(SEQUENCE, utcTime(Date.now() - VALID_MS), utcTime(Date.now() + VALID_MS)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    tlv(
      0xa3,
      tlv(
        SEQUENCE,
        tlv(SEQUENCE, SUBJECT_ALT_NAME, tlv(OCTETS, names)),
        tlv(SEQUENCE, BASIC_CONSTRAINTS, tlv(OCTETS, isCa)),
      ),
    ),
  );
}

function utcTime(at: number): Buffer {
  const digits = new Date(at).toISOString().replace(/\D/g, "").slice(2, 14);
  return tlv(UTC_TIME, Buffer.from(`${digits}Z`));
}

/** DER: tag, length, value. */
function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const length =
    value.length < 0x80
      ? [value.length]
      : value.length < 0x100
        ? [0x81, value.length]
        : [0x82, value.length >> 8, value.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), value]);
}
