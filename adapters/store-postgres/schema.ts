import type { ColumnType, Generated, Insertable, Selectable } from 'kysely'
import type { WorkspaceDefinition, ZoneDefinition } from '#core/api/admin.ts'
import type { AlarmView, ClaimChanges } from '#core/api/evidence.ts'
import type { SessionNotice } from '#core/api/person.ts'
import type { ImageComparison } from '#core/api/releases.ts'
import type { DecisionView, Restriction } from '#core/api/words.ts'
import type {
  AttestedValues,
  EndpointKnowledge,
  EvidenceSeen,
  Fallen,
  Observation,
} from '#core/evidence/index.ts'
import type { Wave } from '#core/release/index.ts'
import type { Boot } from '#core/tpm/index.ts'
import type { BeaconSeen, ClaimName } from '#core/trust/index.ts'
import type { Claim, DeliveryMode, Obligations, Right } from '#core/trust/words.ts'
import type { DiscardsTable } from './discards-table.ts'
import type { LeasesTable } from './leases-table.ts'
import type { ReplicasTable } from './replicas-table.ts'

export type { LeaseRow, NewLease } from './leases-table.ts'

/** The site's tables. Migrations make them; this file says what they hold. */
export interface Database {
  people: PeopleTable
  known_sources: KnownSourcesTable
  sign_in_failures: SignInFailuresTable
  web_sessions: WebSessionsTable
  workspaces: WorkspacesTable
  agents: AgentsTable
  endpoint_keys: EndpointKeysTable
  endpoint_evidence: EndpointEvidenceTable
  endpoint_statements: EndpointStatementsTable
  alarms: AlarmsTable
  enrolment_tokens: EnrolmentTokensTable
  enrolment_requests: EnrolmentRequestsTable
  tpm_challenges: TpmChallengesTable
  sessions: SessionsTable
  tickets: TicketsTable
  handoffs: HandoffsTable
  browser_endpoints: BrowserEndpointsTable
  leases: LeasesTable
  discards: DiscardsTable
  replicas: ReplicasTable
  image_keys: ImageKeysTable
  images: ImagesTable
  release_metadata: ReleaseMetadataTable
  release_proposals: ReleaseProposalsTable
  releases: ReleasesTable
  channels: ChannelsTable
  decisions: DecisionsTable
  redecisions: RedecisionsTable
  policies: PoliciesTable
  settings: SettingsTable
  audit_entries: AuditEntriesTable
  audit_hashes: AuditHashesTable
  audit_head: AuditHeadTable
  audit_subjects: AuditSubjectsTable
  audit_sessions: AuditSessionsTable
}

type Timestamp = ColumnType<Date, Date, Date>
type Json<T> = ColumnType<T, string, string>

/** INVARIANT: what was deleted stays as a row, so that its id is never used again and what tells of it keeps its name. */
interface Deletable {
  deleted_at: ColumnType<Date | null, undefined, Date>
  /** Id of the admin. */
  deleted_by: ColumnType<string | null, undefined, string>
  /** What was written there is to be discarded. */
  discards: ColumnType<boolean, undefined, boolean>
}

interface PeopleTable extends Deletable {
  id: string
  /** Of those that were not deleted nobody else has it. */
  login: string
  name: string
  /** PHC string, or null for a person who signs in elsewhere. */
  password: string | null
  groups: string[]
  disabled: Generated<boolean>
  created_at: Timestamp
}

/** From where a person has signed in before: strangers elsewhere never slow them there. */
interface KnownSourcesTable {
  person_id: string
  source: string
  last_at: Timestamp
}

/** Throttle state: key is made by `core/identity/throttle.ts`. */
interface SignInFailuresTable {
  key: string
  failures: number
  last_at: Timestamp
}

interface WebSessionsTable {
  id: string
  /** SHA-256 of the cookie. */
  token_hash: Buffer
  person_id: string
  /** RFC 7638 thumbprint of the key that signs every request. */
  thumbprint: string
  /** Address the site last saw this web session come from. */
  address: string
  created_at: Timestamp
  last_seen_at: Timestamp
  expires_at: Timestamp
}

interface WorkspacesTable extends Deletable {
  id: string
  position: number
  definition: Json<WorkspaceDefinition>
}

/** Hosts, gateways and endpoints: everything that enrolled with a token and dials in. */
interface AgentsTable {
  id: string
  kind: 'host' | 'gateway' | 'endpoint'
  name: string
  /** Names and addresses that its certificate says it is reached by. */
  dns_names: string[]
  /** Of hosts: the set of like desktops that it serves. */
  pool: string
  certificate_expires_at: Timestamp
  revoked_at: Timestamp | null
  draining: Generated<boolean>
  /** X25519 public key of a host. */
  host_key: Buffer | null
  /** X25519 public key of an endpoint, to which image keys are sealed. */
  seal_key: Buffer | null
  capacity: Generated<number>
  /** Live sessions placed on the host; placement claims a place here first. */
  placed: Generated<number>
  report: Json<AgentReport>
  last_seen_at: Timestamp | null
  /** Of an endpoint: where the key is by which it proves which it is. */
  device_key: Generated<'file' | 'tpm'>
  /** TPMT_PUBLIC of the attestation key that was proven to be in the same TPM as a certified endorsement key. */
  ak_public: Buffer | null
  /** SHA-256, hex, of that endorsement key's public area. */
  ek_fingerprint: string | null
  boot: Json<BootRecord> | null
  /** Whose endpoint it is. */
  owner_id: string | null
  /** Its agent understood, when it came last, what it shall discard. */
  takes_discards: Generated<boolean>
  enrolled_at: Timestamp | null
  /** What the same machine was enrolled as the last time since, as it has proven. */
  succeeded_by: string | null
}

/** What an endpoint booted, as its TPM measured it. */
export interface BootRecord {
  /** The first boot that was attested, or the one that an admin accepted since. */
  readonly baseline: Boot
  /** The last one that was attested. */
  readonly current: Boot
  /** When `current` was first seen; UTC. */
  readonly since: string
  /** Of the TPM's clock: it only grows. */
  readonly resetCount: number
}

/** What the agent last said about itself. */
export interface AgentReport {
  readonly cpuPercent?: number
  readonly memoryFreeMiB?: number
  readonly warm?: number
  readonly publicUrl?: string
  readonly agentUrl?: string
  readonly connections?: number
}

/** What a single-use token makes of its bearer. */
export type TokenKind = AgentsTable['kind'] | 'admin'

/** Public keys of an endpoint's certificates, by which its proofs are verified; at a renewal there are two for a while. */
interface EndpointKeysTable {
  endpoint_id: string
  /** SubjectPublicKeyInfo, DER. */
  public_key: Buffer
  /** When the certificate does. */
  expires_at: Timestamp
}

/** What is known of an endpoint by its evidence: see `core/evidence`. */
interface EndpointEvidenceTable {
  endpoint_id: string
  /** One more with each change; that evidence came again is none. */
  version: number
  /** Of the last accepted statement, and the acceptance that it brought. */
  sequence: ColumnType<string, number, number>
  basis: ColumnType<string, number, number>
  /** When evidence was last accepted. */
  last_at: ColumnType<Date | null, Date | null, Date | null>
  /** From where its agent was connected then. */
  address: string
  observations: Json<readonly Observation[]>
  attested: Json<AttestedValues> | null
  seen: Json<EvidenceSeen> | null
  path: Json<NonNullable<EndpointKnowledge['path']>> | null
  /** What became of the last word of a beacon that it brought. */
  beacon: Json<BeaconSeen> | null
  forked_at: ColumnType<Date | null, Date | null, Date | null>
  /** It was not heard of for two periods, and what hangs on it has been decided again. */
  silent: boolean
  /** What each claim was worth at the last change. */
  settled: Json<Fallen>
  /** What it fell from and has not come back to. */
  fallen: Json<Fallen>
  /** When it last fell otherwise than by a silence that it announced. */
  fell_at: ColumnType<Date | null, Date | null, Date | null>
  /** When it last ended its reports in order; see `recordFarewell`. */
  left_at: ColumnType<Date | null, undefined, Date>
  /** The latest ones, the newest first. */
  changes: Json<readonly ClaimChanges[]>
}

/** What other systems of the organisation say of an endpoint. */
interface EndpointStatementsTable {
  endpoint_id: string
  system: string
  claim: ClaimName
  value: string
  at: Timestamp
  expires_at: Timestamp
}

/** What admins have to look at. Of each key at most one stands. */
interface AlarmsTable {
  id: string
  key: string
  kind: AlarmView['kind']
  message: string
  remedy: string
  raised_at: Timestamp
  acknowledged_at: ColumnType<Date | null, Date | null | undefined, Date | null>
  acknowledged_by: ColumnType<string | null, string | null | undefined, string | null>
  ended_at: ColumnType<Date | null, Date | null | undefined, Date | null>
  ended_by: ColumnType<string | null, string | null | undefined, string | null>
}

interface EnrolmentTokensTable {
  secret_hash: Buffer
  kind: TokenKind
  name: string
  dns_names: string[]
  pool: string
  /** Whose endpoint it becomes. */
  owner_id: string | null
  expires_at: Timestamp
  used_at: Timestamp | null
}

/** A machine that asked to be let in without a token. Approval makes its own secret a token. */
interface EnrolmentRequestsTable {
  id: string
  secret_hash: Buffer
  /** What the machine shows and the admin compares; made by the site. */
  code: string
  /** What the machine calls itself. */
  name: string
  /** Who may have how many: see `sourceOf`. */
  source: string
  address: string
  state: 'waiting' | 'approved' | 'refused'
  requested_at: Timestamp
  expires_at: Timestamp
}

/** A credential that a TPM is to open, once: then its attestation key is enrolled. */
interface TpmChallengesTable {
  id: string
  token_hash: Buffer
  /** SHA-256 of the certificate request that it was asked with. */
  request_hash: Buffer
  ak_public: Buffer
  ek_fingerprint: string
  secret_hash: Buffer
  expires_at: Timestamp
}

export type SessionState = 'starting' | 'ready' | 'ending' | 'ended'

interface SessionsTable {
  id: string
  person_id: string
  web_session_id: string | null
  workspace_id: string
  /** Where it runs: on a host or on an endpoint, never both. */
  host_id: string | null
  endpoint_id: string | null
  /** The endpoint at which its person proved to be when they last opened it. */
  from_endpoint_id: string | null
  mode: DeliveryMode
  account: string
  width: number
  height: number
  state: SessionState
  connected: Generated<boolean>
  rights: Right[]
  restrictions: Json<readonly Restriction[]>
  obligations: Json<Obligations>
  /** Claims the endpoint made about itself at launch; they can only lower trust. */
  evidence: Json<readonly Claim[]>
  decision_id: string
  started_at: Timestamp
  ends_at: Timestamp
  last_input_at: Timestamp | null
  end: Json<SessionEnd> | null
  ended_at: Timestamp | null
}

export type SessionEnd = NonNullable<SessionNotice['end']>

interface TicketsTable {
  /** Derived from the ticket, 16 bytes; the ticket itself is never stored. */
  id: Buffer
  session_id: string
  /** Pre-shared key and client key, sealed to the host's key. */
  sealed: Buffer
  expires_at: Timestamp
  armed_at: Timestamp | null
  redeemed_at: Timestamp | null
}

/** A code by which a browser hands a launch to an endpoint; spent by whichever endpoint brings it first. */
interface HandoffsTable {
  /** SHA-256 of the code. */
  code_hash: Buffer
  person_id: string
  web_session_id: string
  /** Null: nothing is launched, browser and endpoint only meet. */
  workspace_id: string | null
  /** The only one that may bring it; null: any. */
  endpoint_id: string | null
  switch: boolean
  made_at: Timestamp
  expires_at: Timestamp
  used_at: ColumnType<Date | null, Date | null, Date | null>
  used_by: string | null
}

/** The endpoint that a web session's browser was last seen on. It is shown; no decision that delivers rests on it. */
interface BrowserEndpointsTable {
  web_session_id: string
  endpoint_id: string
  seen_at: Timestamp
}

/** Keys of image families. INVARIANT: none is here in the clear, and none leaves the site but sealed under a lease. */
interface ImageKeysTable {
  name: string
  key_id: string
  /** Encrypted under the site's file `keys/images.key`: see `core/lease/stored-key.ts`. */
  sealed: Buffer
  deposited_at: Timestamp
}

/** Images that were imported into a store: what a release can be made of. They never change. */
interface ImagesTable {
  name: string
  version: string
  /** What people sign the digest of. */
  manifest: Buffer
  /** SHA-256, hex. */
  manifest_digest: string
  /** Where its bytes lie, for people. */
  store: string
  imported_by: string
  imported_at: Timestamp
  /** What it shares with an older version, as said by whoever registered it. */
  comparison: Json<ImageComparison> | null
}

/** TUF metadata that endpoints can read, as it was signed: of the timestamp the newest, of other roles every version. */
interface ReleaseMetadataTable {
  role: string
  version: number
  bytes: Buffer
  published_at: Timestamp
}

/** What is to be signed: for each role at most the version after the published one, with the signatures so far. */
interface ReleaseProposalsTable {
  role: string
  version: number
  bytes: Buffer
  proposed_by: string
  proposed_at: Timestamp
}

/** What published metadata says of releases, to look them up. See `core/release`. */
interface ReleasesTable {
  name: string
  version: string
  counter: number
  content_version: string
  manifest_digest: string
  published_at: Timestamp
  retired_at: Timestamp | null
}

/** Where the channels of an image point. */
interface ChannelsTable {
  name: string
  channel: string
  current_version: string
  next_version: string | null
  wave: Json<Wave> | null
  changed_at: Timestamp
}

interface DecisionsTable {
  id: string
  at: Timestamp
  person_id: string
  workspace_id: string
  session_id: string | null
  cause: 'launch' | 'reconnect' | 'group' | 'zone' | 'policy' | 'evidence' | 'sweep'
  zone: string
  decision: Json<DecisionView>
  audit_index: string
}

/** Sessions whose decision must be taken again; any site node takes them, each once. */
interface RedecisionsTable {
  session_id: string
  cause: DecisionsTable['cause']
  requested_at: Timestamp
}

interface PoliciesTable {
  serial: Generated<number>
  text: string
  digest: string
  activated_at: Timestamp
  activated_by: string
}

interface SettingsTable {
  key: 'zones'
  value: Json<readonly ZoneDefinition[]>
}

interface AuditEntriesTable {
  index: string
  entry: Buffer
}

/** Level 0: hashes of the entries; level L: the root of each full tile of level L - 1. */
interface AuditHashesTable {
  level: number
  index: string
  hash: Buffer
}

/** One row: the size and frontier that the next batch continues from, and the signed checkpoint. */
interface AuditHeadTable {
  one: Generated<boolean>
  size: string
  frontier: Buffer
  checkpoint: string
  /** How many entries `audit_subjects` knows: fewer than `size` while a node of an older version appends. */
  indexed: Generated<string>
}

/** By whom and by what entries are found: see `timeline.ts`. */
interface AuditSubjectsTable {
  subject: string
  index: string
}

/** What the first entry of a session is about, and so all later ones. */
interface AuditSessionsTable {
  session: string
  subjects: string[]
}

export type PersonRow = Selectable<PeopleTable>
export type WebSessionRow = Selectable<WebSessionsTable>
export type WorkspaceRow = Selectable<WorkspacesTable>
export type AgentRow = Selectable<AgentsTable>
export type TpmChallengeRow = Selectable<TpmChallengesTable>
export type EnrolmentRequestRow = Selectable<EnrolmentRequestsTable>
export type EndpointEvidenceRow = Selectable<EndpointEvidenceTable>
export type NewEvidence = Insertable<EndpointEvidenceTable>
export type EndpointStatementRow = Selectable<EndpointStatementsTable>
export type AlarmRow = Selectable<AlarmsTable>
export type SessionRow = Selectable<SessionsTable>
export type HandoffRow = Selectable<HandoffsTable>
export type ImageKeyRow = Selectable<ImageKeysTable>
export type NewSession = Insertable<SessionsTable>
export type ImageRow = Selectable<ImagesTable>
export type ProposalRow = Selectable<ReleaseProposalsTable>
export type ReleaseRow = Selectable<ReleasesTable>
export type ChannelRow = Selectable<ChannelsTable>
export type DecisionRow = Selectable<DecisionsTable>
export type DecisionCause = DecisionsTable['cause']
