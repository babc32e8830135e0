const familyWild = 0xffff
const protocol = 'MIT-MAGIC-COOKIE-1'

/**
 * An Xauthority file that lets its reader onto any display that knows `cookie`.
 *
 * Spec: libXau AuFileName.c, AuWrite.c: family u16 | address | display number | protocol name | data,
 * each of the four counted by a u16, big-endian. The wild family matches every host and number, so the file
 * can be written before the server has chosen its number.
 */
export function encodeXauthority(cookie: Uint8Array): Buffer {
  const family = Buffer.from([familyWild >> 8, familyWild & 0xff])
  return Buffer.concat([family, counted(''), counted(''), counted(protocol), counted(cookie)])
}

function counted(field: string | Uint8Array): Buffer {
  const bytes = Buffer.from(field)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}
