/* The tables of network.h, in one object file. */
#define NETWORK_TABLES
#include "network.h"
