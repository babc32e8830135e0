/**
 * Header of a request that a page makes by itself while nobody is at it: it does not prolong the web session. Who leaves it out keeps a
 * session as every request does, who adds it can only have it end sooner; so it needs no proof.
 */
export const unattendedHeader = 'Trustcast-Unattended'
