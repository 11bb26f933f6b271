// Linked into the static programs. A program that is linked statically with glibc loads the modules that /etc/nsswitch.conf
// names from the system on which it runs, and crashes if they belong to another version of glibc. Two of the modules for host
// names are part of the program itself; this makes it use only those.
#include <nss.h>

__attribute__((constructor)) static void look_hosts_up_without_the_modules_of_the_system(void)
{
    __nss_configure_lookup("hosts", "files dns");
}
