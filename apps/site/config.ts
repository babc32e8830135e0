import { z } from 'zod'

const port = z.int().min(1).max(65535)
const address = z.string().max(64)

/** The configuration file of a site node. */
export const siteConfig = z.strictObject({
  name: z.string().min(1).max(100),
  /** Folder with the authority's keys and certificates. */
  state: z.string(),
  /** Where people reach the site: what their browser shows. */
  url: z.url({ protocol: /^https$/ }),
  listen: z.strictObject({
    /** `localhost` listens on both loopback addresses. */
    address: address.default('localhost'),
    port,
  }),
  agents: z.strictObject({
    /** Where hosts and gateways reach the site. */
    url: z.url({ protocol: /^https$/ }),
    address: address.default('localhost'),
    port,
  }),
  database: z.union([
    z.strictObject({ url: z.string() }),
    z.strictObject({
      /** Folder of the database's socket. A server elsewhere is named by `url`. */
      host: z.string().startsWith('/'),
      port,
      user: z.string(),
      database: z.string(),
    }),
  ]),
  /** Proxies whose X-Forwarded-For is believed; of anybody else it is ignored. */
  trustedProxies: z.array(address).max(100).default([]),
  /** Who may read /metrics. */
  metrics: z.array(address).max(100).default(['127.0.0.0/8', '::1/128']),
  /** Displays kept warm on every host. */
  warm: z.int().min(0).max(100).default(1),
  /** Pools whose hosts keep another number warm. */
  pools: z.record(z.string(), z.strictObject({ warm: z.int().min(0).max(100) })).default({}),
  /** Where endpoints fetch the bytes of images: folders, HTTP servers, registries; the first that answers is used. */
  stores: z.array(z.string().min(1).max(500)).max(20).default([]),
  /** Copies of what is written on endpoints. Several nodes need one folder, on a file system that all of them see. */
  replicas: z
    .strictObject({
      /** Absent: `replicas` in the state folder. */
      folder: z.string().min(1).max(500).exactOptional(),
      /** Of one overlay of one person, as it is stored. */
      limitMiB: z.int().min(1).default(65_536),
      /** How long that of an older version stays beside a whole one of a newer: a release may be rolled back. */
      olderDays: z.int().min(0).max(3650).default(30),
    })
    .prefault({}),
  /** Files with certificates (PEM) of those who certify TPMs: makers of chips, or of virtual machines. */
  tpm: z.strictObject({ authorities: z.array(z.string().min(1).max(500)).max(100).default([]) }).prefault({}),
  endpoints: z
    .strictObject({
      /** How long after its certificate has ended an endpoint comes back by itself; after that it is enrolled again. */
      absenceDays: z.int().min(0).max(3650).default(30),
    })
    .prefault({}),
  /** When so many devices, and more than this share of those that report, fall in trust within so many minutes, running work is held. */
  brake: z
    .strictObject({
      endpoints: z.int().min(1).default(10),
      percent: z.int().min(0).max(100).default(20),
      minutes: z.int().min(1).max(60).default(5),
    })
    .prefault({}),
  /** What one session may use on its host. */
  limits: z
    .strictObject({
      memoryMiB: z.int().min(128).default(2048),
      processes: z.int().min(32).default(512),
      cpuPercent: z.int().min(10).default(200),
    })
    .prefault({}),
})
export type SiteConfig = z.infer<typeof siteConfig>
