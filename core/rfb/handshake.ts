import { decodeUtf8, encodeUtf8 } from '#core/bytes/index.ts'
import { RfbError } from './rfb-error.ts'

/** The only security type between filter and server: the unix socket's mode is the guard there. */
export const noneSecurity = 1

const version = encodeUtf8('RFB 003.008\n')

/**
 * Takes ProtocolVersion of either side, which must be 3.8. Spec: RFC 6143 section 7.1.1
 *
 * @throws {RfbError} RFB_BAD_HANDSHAKE
 */
export function expectVersion(sender: 'viewer' | 'server', bytes: Uint8Array): Uint8Array {
  if (!version.every((byte, index) => bytes[index] === byte)) {
    const seen = JSON.stringify(String.fromCharCode(...bytes))
    throw new RfbError(
      'RFB_BAD_HANDSHAKE',
      `the ${sender} began with ${seen}; expected ${JSON.stringify(decodeUtf8(version))}`,
    )
  }
  return version
}
