// Linked into static programs. A static program of glibc loads the modules that /etc/nsswitch.conf names from the system that it
// runs on, and dies of a signal where those belong to another version of glibc. Two of the modules for hosts are in the program
// itself; these are the ones that it shall use.
#include <nss.h>

__attribute__((constructor)) static void look_hosts_up_without_the_modules_of_the_system(void)
{
    __nss_configure_lookup("hosts", "files dns");
}
